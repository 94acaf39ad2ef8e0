"""Rename third-party weights tensor by tensor, with none left over on either side."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmdet_detnet.checkpoints import read_checkpoint
from mmdet_detnet.models.resnet import WeightReport

# Number of keys shown, enough to recognize the kind of file.
KEYS_SHOWN = 6


class WeightSource(NamedTuple):
    """One kind of third-party file."""

    title: str  # a noun phrase
    usage: str  # settings that a config needs to reproduce the original model
    recognizes: Callable[[Mapping[str, Tensor]], bool]  # from the keys of the state dict
    # Builds our network for a state dict, with what names its tensors as the file does; raises
    # ValueError if the size of the network is not clear.
    match: Callable[[Mapping[str, Tensor]], tuple[nn.Module, Callable[[str], str]]]
    unused: str  # pattern of the names of tensors that the file may have and we do not use
    container: str | None = None  # key of the state dict in a checkpoint of a training run
    # Brings a tensor with our name into our order.
    rearrange: Callable[[str, Tensor], Tensor] = lambda key, tensor: tensor

    def unwrap(self, content: Mapping) -> Mapping[str, Tensor]:
        """Take the state dict out of a checkpoint."""
        inner = content.get(self.container) if self.container else None
        return inner if isinstance(inner, Mapping) else content


class Conversion(NamedTuple):
    """Converted weights, with a report."""

    weights: dict[str, Tensor]
    report: WeightReport  # what happened to each tensor
    lines: list[str]  # the same, with both names and shapes of each tensor
    usage: str  # settings that a config needs to reproduce the original model


def convert(content: Mapping, source: WeightSource) -> Conversion:
    """Rename, rearrange and drop tensors, if the content of the file is exactly as expected.

    Raises:
        ValueError: If keys are unexpected or missing, or shapes differ; names a few keys of each
            kind.
    """
    state = source.unwrap(content)
    with torch.device('meta'):
        network, name = source.match(state)
    own_names = {name(key): key for key in network.state_dict()}
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    weights: dict[str, Tensor] = {}
    report, lines = WeightReport(source.title), []
    unknown: list[str] = []
    differing: list[str] = []
    for key, value in state.items():
        own = own_names.get(key)
        if own is None:
            is_known = re.fullmatch(source.unused, str(key))
            (report.dropped if is_known else unknown).append(str(key))
            lines.append(f'{key} not used')
            continue
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        lines.append(f'{key} {shape} -> {own} {shapes[own]}')
        if isinstance(value, Tensor) and value.dim() == len(shapes[own]):
            weights[own] = source.rearrange(own, value)
        if own not in weights or weights[own].shape != shapes[own]:
            differing.append(f'{key} {shape} instead of {shapes[own]}')
    missing = [key for key in own_names if key not in state]
    # torch has counted batches since 0.4.1; some published files are older.
    report.initialized = [own_names[key] for key in missing if key.endswith('num_batches_tracked')]
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    problems = []
    for kind, keys in (('unknown', unknown), ('missing', missing), ('shape', differing)):
        more = f' and {len(keys) - KEYS_SHOWN} more' if len(keys) > KEYS_SHOWN else ''
        problems += [f'{kind}: {", ".join(keys[:KEYS_SHOWN])}{more}'] if keys else []
    if problems:
        raise ValueError(f'this is not {source.title}. {"; ".join(problems)}.')
    report.loaded = list(weights)
    if state is not content:
        report.dropped += [key for key in content if key != source.container]
    return Conversion(weights, report, lines, source.usage)


def read_weights(path: Path) -> dict[str, Any]:
    """Read a file of third-party weights without executing any code in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or has other content than tensors and plain values.
    """
    content = read_checkpoint(path, map_location='cpu')
    if not all(isinstance(key, str) for key in content):
        raise ValueError(f'{path} is not a state dict: its keys are not strings.')
    for state in (content, *content.values()):
        if isinstance(state, Mapping):
            _refuse_odd_tensors(state, path)
    return content


def _refuse_odd_tensors(state: Mapping[str, Any], path: Path) -> None:
    """Reject tensors without values of their own: written out, they could fill a disk."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    odd = [key for key, value in tensors.items() if not _has_values(value)]
    if odd:
        raise ValueError(f'{path} has tensors that are sparse, quantized or empty: {odd[0]}.')
    storages = {value.untyped_storage().data_ptr(): value for value in tensors.values()}
    held = sum(value.untyped_storage().nbytes() for value in storages.values())
    claimed = sum(value.nbytes for value in tensors.values())
    if claimed > held:
        raise ValueError(f'{path} has tensors of {claimed} bytes, but values for only {held}.')


def _has_values(value: Tensor) -> bool:
    special = value.is_nested or value.is_meta or value.is_quantized
    return not special and value.layout is torch.strided

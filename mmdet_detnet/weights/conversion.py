"""Rename third-party weights tensor by tensor, with none left over on either side."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmdet_detnet.checkpoints import read_checkpoint
from mmdet_detnet.models.resnet import WeightReport

# Number of keys shown, enough to recognize the kind of file.
KEYS_SHOWN = 6


class Counterpart(NamedTuple):
    """Our tensor for one tensor of a third-party file."""

    own: str | None  # its key in our network; None if the tensor is not used
    shape: tuple[int, ...] | None  # in the file; None for any
    rearrange: Callable[[Tensor], Tensor] | None = None  # converts its values to our order
    optional: bool = False  # whether the file may omit it


Layout = dict[str, Counterpart]


class WeightSource(NamedTuple):
    """One kind of third-party file."""

    title: str  # a noun phrase
    usage: str  # settings that a config needs to reproduce the original model
    recognizes: Callable[[Mapping[str, Tensor]], bool]  # from the keys of the state dict
    # Maps each key of a state dict; raises ValueError if the size of the network is not clear.
    make_layout: Callable[[Mapping[str, Tensor]], Layout]
    container: str | None = None  # key of the state dict in a checkpoint of a training run

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
    layout = source.make_layout(state)
    _refuse_surprises(state, layout, source.title)
    weights: dict[str, Tensor] = {}
    report, lines = WeightReport(source.title), []
    for key, (own, _, rearrange, _) in layout.items():
        if key not in state:
            report.initialized += [own] if own else []
            continue
        line = f'{key} {tuple(state[key].shape)}'
        if own is None:
            report.dropped.append(key)
            lines.append(f'{line} not used')
            continue
        weights[own] = rearrange(state[key]) if rearrange else state[key]
        lines.append(f'{line} -> {own} {tuple(weights[own].shape)}')
    report.loaded = list(weights)
    if state is not content:
        report.dropped += [key for key in content if key != source.container]
    return Conversion(weights, report, lines, source.usage)


def _refuse_surprises(state: Mapping[str, Tensor], layout: Layout, title: str) -> None:
    unknown = [key for key in state if key not in layout]
    # torch has counted batches since 0.4.1; some published files are older.
    missing = [
        key
        for key, counterpart in layout.items()
        if key not in state and not counterpart.optional and not key.endswith('num_batches_tracked')
    ]
    shapes = {
        key: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        for key, value in state.items()
    }
    differing = [
        f'{key} {shapes[key]} instead of {shape}'
        for key, (_, shape, *_) in layout.items()
        if key in state and (isinstance(shapes[key], str) or shape not in (None, shapes[key]))
    ]
    problems = []
    for name, keys in (('unknown', unknown), ('missing', missing), ('shape', differing)):
        more = f' and {len(keys) - KEYS_SHOWN} more' if len(keys) > KEYS_SHOWN else ''
        problems += [f'{name}: {", ".join(keys[:KEYS_SHOWN])}{more}'] if keys else []
    if problems:
        raise ValueError(f'this is not {title}. {"; ".join(problems)}.')


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """List the shapes of a network's state dict, by key, without creating the tensors."""
    with torch.device('meta'):
        state = build().state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


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

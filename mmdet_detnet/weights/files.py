"""Convert a file of third-party weights without executing any code in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_detnet.checkpoints import read_checkpoint

from .sources import convert_weights


def convert_file(
    source: Path, target: Path | None, kind: str | None = None, list_tensors: bool = False
) -> str:
    """Convert one file.

    Args:
        source: The published file, with only tensors and plain values.
        target: Path of the converted state dict, or None to write nothing.
        kind: Kind of file, one of ``SOURCES``; detected from its keys if None.
        list_tensors: Whether to report each tensor, with both names and shapes.

    Returns:
        What happened to the tensors, as text.

    Raises:
        FileNotFoundError: If there is no ``source``.
        ValueError: If ``source`` is damaged or of an unknown kind.
        FileExistsError: If ``target`` exists.
    """
    if target is not None and target.exists():
        raise FileExistsError(f'{target} exists already; it is not overwritten.')
    conversion = convert_weights(_load(source), kind)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        meta = {'source': conversion.report.source}
        torch.save({'meta': meta, 'state_dict': conversion.weights}, target)
    lines = conversion.lines if list_tensors else []
    return '\n'.join([*lines, str(conversion.report), f'  to be used with {conversion.usage}'])


def _load(source: Path) -> dict[str, Any]:
    content = read_checkpoint(source, map_location='cpu')
    if not all(isinstance(key, str) for key in content):
        raise ValueError(f'{source} is not a state dict: its keys are not strings.')
    for state in (content, *content.values()):
        if isinstance(state, Mapping):
            _refuse_odd_tensors(state, source)
    return content


def _refuse_odd_tensors(state: Mapping[str, Any], source: Path) -> None:
    """Reject tensors without values of their own: written out, they could fill a disk."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    odd = [str(key) for key, value in tensors.items() if not _is_array(value)]
    if odd:
        raise ValueError(f'{source} has tensors that are sparse, quantized or empty: {odd[0]}.')
    storages = {value.untyped_storage().data_ptr(): value for value in tensors.values()}
    held = sum(value.untyped_storage().nbytes() for value in storages.values())
    claimed = sum(value.nbytes for value in tensors.values())
    if claimed > held:
        raise ValueError(f'{source} has tensors of {claimed} bytes, but values for only {held}.')


def _is_array(value: Tensor) -> bool:
    if value.is_nested or value.is_meta or value.is_quantized:
        return False
    return value.layout is torch.strided

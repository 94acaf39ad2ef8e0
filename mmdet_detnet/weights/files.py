"""Converting a file of foreign weights, read ``weights_only``."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from .sources import convert_weights


def convert_file(
    source: Path, target: Path | None, kind: str | None = None, list_tensors: bool = False
) -> str:
    """Convert one file.

    Args:
        source: The published file; loaded ``weights_only``.
        target: Where to write the converted state dict, or None to write nothing.
        kind: What kind of file it is, one of ``SOURCES``; recognised by its keys if None.
        list_tensors: Whether to report every tensor, with both names and shapes.

    Returns:
        What happened to the tensors, as text.

    Raises:
        ValueError: If ``source`` is no file of a known kind.
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


def _load(source: Path) -> Mapping:
    if not source.is_file():
        raise ValueError(f'{source} is not a file.')
    try:
        content = torch.load(source, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        refused = re.search(r'GLOBAL (\S+)', str(error))
        reason = refused[1] if refused else str(error).splitlines()[0]
        raise ValueError(
            f'{source} holds more than tensors, or is no torch file: {reason}.'
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ValueError(f'{source} holds a {type(content).__name__}, not a state dict.')
    return content

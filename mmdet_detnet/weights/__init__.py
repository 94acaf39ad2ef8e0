"""Converters of third-party weights; the models do not import them."""

import io
from collections.abc import Mapping
from pathlib import Path

import torch

from mmdet_detnet.files import write_file
from mmdet_detnet.models.resnet import WeightReport, load_pretrained_backbone

from .conversion import KEYS_SHOWN, Conversion, WeightSource, convert, read_weights
from .detnet_pytorch import DETNET_PYTORCH, DETNET_PYTORCH_DETECTOR
from .doubleheadsrcnn import DOUBLEHEADSRCNN
from .resnets import MMPRETRAIN, TIMM

__all__ = [
    'SOURCES',
    'Conversion',
    'WeightReport',
    'WeightSource',
    'convert_file',
    'convert_weights',
    'load_pretrained_backbone',
]

# All supported kinds of files, in order of detection.
SOURCES = {
    'detnet_pytorch_detector': DETNET_PYTORCH_DETECTOR,
    'detnet_pytorch': DETNET_PYTORCH,
    'doubleheadsrcnn': DOUBLEHEADSRCNN,
    'mmpretrain': MMPRETRAIN,
    'timm': TIMM,
}


def convert_weights(content: Mapping, source: str | None = None) -> Conversion:
    """Convert the content of a third-party file, a state dict or a checkpoint of a run.

    ``source`` is the kind of file, one of ``SOURCES``; it is detected from the keys if None. Other
    content of a checkpoint is reported as not used.

    Raises:
        ValueError: If the kind of file is unknown or not recognized, or if a tensor is
            unexpected, missing or of another shape.
    """
    if source not in (None, *SOURCES):
        raise ValueError(f'source must be one of {", ".join(SOURCES)}, got {source!r}.')
    for name, kind in SOURCES.items():
        if name == source or (source is None and kind.recognizes(kind.unwrap(content))):
            return convert(content, kind)
    shown = [str(key) for key in content][:KEYS_SHOWN]
    raise ValueError(
        f'the file is not of a known kind ({", ".join(SOURCES)}); unknown: '
        f'{", ".join(shown)}{" ..." if len(content) > len(shown) else ""}. Files with the names of '
        "torchvision's ResNet or of MMDetection need no conversion."
    )


def convert_file(
    source: Path, target: Path | None, kind: str | None = None, list_tensors: bool = False
) -> str:
    """Convert a file without executing any code in it, and describe what happened to its tensors.

    Args:
        source: The published file, with only tensors and plain values.
        target: Path of the converted state dict, or None to write nothing.
        kind: Kind of file, one of ``SOURCES``; detected from its keys if None.
        list_tensors: Whether to describe each tensor, with both names and shapes.

    Raises:
        FileNotFoundError: If there is no ``source``.
        ValueError: If ``source`` is damaged or of an unknown kind.
        OSError: If ``target`` exists or cannot be written.
    """
    if target is not None and target.exists():
        raise FileExistsError(f'{target} exists already; it is not overwritten.')
    conversion = convert_weights(read_weights(source), kind)
    if target is not None:
        meta = {'source': conversion.report.source}
        file = io.BytesIO()
        torch.save({'meta': meta, 'state_dict': conversion.weights}, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, file.getvalue())
    lines = conversion.lines if list_tensors else []
    return '\n'.join([*lines, str(conversion.report), f'  to be used with {conversion.usage}'])

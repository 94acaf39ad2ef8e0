"""All supported kinds of third-party weights."""

from collections.abc import Mapping
from dataclasses import replace

from .conversion import KEYS_SHOWN, Conversion, convert_state
from .detnet_pytorch import DETNET_PYTORCH, DETNET_PYTORCH_DETECTOR
from .doubleheadsrcnn import DOUBLEHEADSRCNN
from .resnets import MMPRETRAIN, TIMM

# In order of detection.
SOURCES = {
    'detnet_pytorch_detector': DETNET_PYTORCH_DETECTOR,
    'detnet_pytorch': DETNET_PYTORCH,
    'doubleheadsrcnn': DOUBLEHEADSRCNN,
    'mmpretrain': MMPRETRAIN,
    'timm': TIMM,
}


def convert_weights(content: Mapping, source: str | None = None) -> Conversion:
    """Convert the content of a third-party file.

    Args:
        content: A state dict or a training checkpoint.
        source: Kind of file, one of ``SOURCES``; detected if None.

    Returns:
        The converted weights. Other content of a checkpoint is reported as not used.

    Raises:
        ValueError: If the kind of file is unknown or not recognized, or if a tensor is
            unexpected, missing or of another shape.
    """
    kind = SOURCES[find_source(content) if source is None else _checked(source)]
    state = kind.unwrap(content)
    conversion = convert_state(state, kind)
    if state is not content:
        report = conversion.report
        extras = [key for key in content if key != kind.container]
        conversion = replace(conversion, report=replace(report, dropped=[*report.dropped, *extras]))
    return conversion


def find_source(content: Mapping) -> str:
    """Detect the kind of a file from its keys.

    Args:
        content: Content of the file.

    Returns:
        The kind, one of ``SOURCES``.

    Raises:
        ValueError: If it is none of these kinds.
    """
    for name, kind in SOURCES.items():
        if kind.recognizes(kind.unwrap(content)):
            return name
    shown = [str(key) for key in content][:KEYS_SHOWN]
    raise ValueError(
        f'the file is not of a known kind ({", ".join(SOURCES)}); unknown: '
        f'{", ".join(shown)}{" ..." if len(content) > len(shown) else ""}. Files with the names of '
        "torchvision's ResNet or of MMDetection need no conversion."
    )


def _checked(source: str) -> str:
    if source not in SOURCES:
        raise ValueError(f'source must be one of {", ".join(SOURCES)}, got {source!r}.')
    return source

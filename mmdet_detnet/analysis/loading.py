"""Load a detector and all of its weights."""

from pathlib import Path
from typing import Any

from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector
from mmengine.device import get_device

from mmdet_detnet.checks import check_checkpoint
from mmdet_detnet.paths import check_files


def load_detector(
    config: str | Path,
    checkpoint: str | Path,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> BaseDetector:
    """Build the detector of a config and load its weights.

    Args:
        config: Config file.
        checkpoint: Checkpoint, a file or URL.
        cfg_options: Settings that override the config's, as for ``tools/test.py``.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        The detector, in evaluation mode.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the checkpoint is of another detector, for example with other classes.
    """
    check_files(config, checkpoint)
    detector = init_detector(
        str(config), str(checkpoint), device=device or get_device(), cfg_options=cfg_options
    )
    if not allow_mismatch:
        check_checkpoint(detector, checkpoint)
    return detector

"""Load a detector with all of its weights."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector
from mmengine.device import get_device
from mmengine.logging import MMLogger

from mmdet_detnet.config import load_config
from mmdet_detnet.files import check_files
from mmdet_detnet.training.checks import check_checkpoint

from .metrics import quiet


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
        cfg_options: As for :func:`~mmdet_detnet.config.set_options`.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        The detector, in evaluation mode.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If an option is wrong, or the checkpoint is of another detector, for example
            with other classes.
    """
    check_files(config, checkpoint)
    cfg = load_config(config, cfg_options)
    detector = init_detector(cfg, str(checkpoint), device=device or get_device())
    if not allow_mismatch:
        check_checkpoint(detector, checkpoint)
    return detector


@contextlib.contextmanager
def only_warnings() -> Iterator[None]:
    """Keep what mmengine and pycocotools print off the terminal, except for warnings."""
    logger = MMLogger.get_current_instance()  # before the redirection, which it would keep
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with quiet():
            yield
    finally:
        logger.setLevel(level)

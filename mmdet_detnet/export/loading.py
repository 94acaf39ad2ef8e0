"""Load a detector and all of its weights."""

from pathlib import Path

from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector

from mmdet_detnet.checks import check_checkpoint
from mmdet_detnet.paths import check_files


def load_detector(config: str | Path, checkpoint: str | Path) -> BaseDetector:
    """Build the detector of a config and load its weights, on the CPU.

    Args:
        config: Config file.
        checkpoint: Checkpoint file.

    Returns:
        The detector, in evaluation mode.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the checkpoint is of another detector.
    """
    check_files(config, checkpoint)
    detector = init_detector(str(config), str(checkpoint), device='cpu')
    check_checkpoint(detector, checkpoint)
    return detector

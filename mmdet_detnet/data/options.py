"""Options for a data set."""

from dataclasses import dataclass
from pathlib import Path

FORMATS = ('coco', 'voc', 'yolo', 'csv', 'labelme', 'createml')


@dataclass(frozen=True)
class Options:
    """Options for a data set.

    Attributes:
        folder: The folder with images and annotations.
        model: One of ``TEMPLATES``.
        out: Output folder; None for ``NAME-detector`` in the working directory.
        images: Folder of the images, below ``folder``.
        annotations: Folder or file of the annotations.
        format_name: One of ``FORMATS``.
        zero_based: Whether VOC corners are positions from 0.
        group_by: Regular expression; images with the same match stay together.
        seed: Seed of random splits.
        resplit: Whether to split the images again.
        fix: Whether to repair images and boxes in copies.
        start_from: Checkpoint to start from.
        max_epochs: Number of epochs.
        overwrite: Whether to replace a config of this name.
    """

    folder: Path
    model: str = 'faster-rcnn_detnet59-slim'
    out: Path | None = None
    images: Path | None = None
    annotations: Path | None = None
    format_name: str | None = None
    zero_based: bool = False
    group_by: str | None = None
    seed: int = 0
    resplit: bool = False
    fix: bool = False
    start_from: Path | None = None
    max_epochs: int | None = None
    overwrite: bool = False

"""Options of ``mmdet-detnet new``, and its detectors. Importing this takes no time."""

from dataclasses import dataclass
from pathlib import Path

FORMATS = ('coco', 'voc', 'yolo', 'csv', 'labelme', 'createml')
# Detectors, each with its training memory per pixel of a batch, in bytes. It was measured on a CPU:
# the growth of the resident memory in two steps with AdamW, rounded up, for 8 images of 320 x 240
# (slim) or 2 of 640 x 480 with 15 objects each.
TEMPLATES = {
    'faster-rcnn_detnet59-slim': 1200,
    'double-head-ext_r50-slim': 2000,
    'retinanet-conf_r50-slim': 1200,
    'faster-rcnn_ipgnet50-slim': 1200,
    'faster-rcnn_r50-slim': 1200,
    'faster-rcnn_detnet59': 4000,
    'double-head-ext_r50': 9000,
    'retinanet-conf_r50': 2500,
    'faster-rcnn_ipgnet50': 4000,
}


@dataclass(frozen=True)
class Options:
    """Options of ``mmdet-detnet new``.

    Attributes:
        folder: The folder with images and annotations.
        model: One of ``TEMPLATES``.
        out: Output folder; None for ``NAME-detector`` in the working directory.
        images: Folder of the images; None to search ``folder``.
        annotations: Folder or file of the annotations; None to search ``folder``.
        format_name: One of ``FORMATS``; None to detect it.
        zero_based: Whether coordinates of VOC start at 0 instead of 1.
        group_by: Regular expression; images with the same match stay in one split.
        seed: Seed of random splits.
        resplit: Whether to split the images again.
        fix: Whether to repair images and boxes in copies.
        decode: Whether the checks decode all images, not only headers; None: at most 2,000.
        start_from: Checkpoint to start from.
        max_epochs: Number of epochs; None to choose it.
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
    decode: bool | None = None
    start_from: Path | None = None
    max_epochs: int | None = None
    overwrite: bool = False

    @property
    def image_folder(self) -> Path:
        """The folder to search for images."""
        return self.images or self.folder

"""Detectors that configs can be written for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A detector to train on the user's data.

    Attributes:
        config: Its config below ``configs/``.
        sides: Possible long sides of the images, in pixels.
        bytes_per_pixel: Training memory per pixel of a batch, in bytes.
        rate: Learning rate for ``rate_batch`` images.
        rate_batch: Batch size of this rate.
    """

    config: str
    sides: tuple[int, ...]
    bytes_per_pixel: int
    rate: float
    rate_batch: int


# Training memory per pixel of a batch, in bytes, measured on a CPU: the growth of the resident
# memory in two steps with AdamW, rounded up, for 8 images of 320 x 240 or 2 of 640 x 480 with 15
# objects each. On an H100, an image of 800 x 1333 took 0.36 to 0.65 of it (docs/benchmarks.md).
SLIM = {
    'faster-rcnn_detnet59-slim': 1200,
    'double-head-ext_r50-slim': 2000,
    'retinanet-conf_r50-slim': 1200,
    'faster-rcnn_ipgnet50-slim': 1200,
    'faster-rcnn_r50-slim': 1200,
}
FULL_WIDTH = {
    'faster-rcnn_detnet59': 4000,
    'double-head-ext_r50': 9000,
    'retinanet-conf_r50': 2500,
    'faster-rcnn_ipgnet50': 4000,
}


def _slim(name: str) -> Template:
    sides = (320, 416, 512, 640)
    return Template(f'custom/{name}_fpn_custom.py', sides, SLIM[name], 1e-3, 8)


def _full(name: str) -> Template:
    sides = (640, 800, 1024, 1333)
    return Template(f'custom/{name}_fpn_custom.py', sides, FULL_WIDTH[name], 1e-4, 4)


TEMPLATES = {name: _slim(name) for name in SLIM} | {name: _full(name) for name in FULL_WIDTH}

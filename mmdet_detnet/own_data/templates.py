"""Detectors that configs can be written for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A detector to train on the user's data.

    Attributes:
        config: Its config below ``configs/``.
        sides: Possible long sides of the images, in pixels.
        bytes_per_pixel: Training memory per pixel of a batch.
        rate: Learning rate for ``rate_batch`` images.
        rate_batch: Batch size of this rate.
    """

    config: str
    sides: tuple[int, ...]
    bytes_per_pixel: int
    rate: float
    rate_batch: int


def _slim(name: str) -> Template:
    return Template(f'custom/{name}_fpn_custom.py', (320, 416, 512, 640), 1500, 1e-3, 8)


def _full(name: str) -> Template:
    return Template(f'custom/{name}_fpn_custom.py', (640, 800, 1024, 1333), 4500, 1e-4, 4)


SLIM = (
    'faster-rcnn_detnet59-slim',
    'double-head-ext_r50-slim',
    'retinanet-conf_r50-slim',
    'faster-rcnn_ipgnet50-slim',
    'faster-rcnn_r50-slim',
)
FULL_WIDTH = (
    'faster-rcnn_detnet59',
    'double-head-ext_r50',
    'retinanet-conf_r50',
    'faster-rcnn_ipgnet50',
)
TEMPLATES = {name: _slim(name) for name in SLIM} | {name: _full(name) for name in FULL_WIDTH}

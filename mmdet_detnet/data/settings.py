"""Choose training settings from the boxes, the number of images and the memory."""

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict

from mmdet_detnet.data.anchors import Anchors, choose_factor, read_anchors, share_inside

from .options import Template
from .records import LabeledImage

# Percentage of the images that fit the image scale without being shrunk for their short side.
SHAPE_PERCENTILE = 95
# Percentage of the boxes that may be smaller than the image scale is made for.
SMALL_PERCENTILE = 10
MAX_BATCH = 8
# Fraction of the memory for batches; the rest is for weights, data loaders and other programs.
MEMORY_SHARE = 0.4
# Fraction of a template's bytes, measured on a CPU, that a GPU needs: on an H100, 0.36 for
# Double-Head-Ext to 0.65 for DetNet (docs/benchmarks.md).
GPU_FACTOR = 0.65
# As in 60 epochs of blood cells (docs/bccd.md), in batches of 8.
NUM_ITERATIONS = 1500
MIN_EPOCHS, MAX_EPOCHS = 12, 120
# Of a long training: early stopping waits for ten of them, a third of the epochs.
MAX_VALIDATIONS = 30
# Move the anchors if fewer than this fraction of the boxes are in their range.
ENOUGH = 0.9

Measured = Sequence[tuple[LabeledImage, tuple[int, int]]]


@dataclass(frozen=True)
class Settings:
    """Settings in the config of a dataset.

    Attributes:
        image_scale: Long and short side that images are resized to, in pixels.
        scale_reason: Why.
        anchors: Path and value of the option of the anchors' sizes; None to keep them.
        anchor_reason: Why.
        batch_size: Images per batch.
        batch_reason: Why.
        max_epochs: Number of epochs.
        val_interval: Epochs between validations.
        learning_rate: The template's, scaled to the batch size.
    """

    image_scale: tuple[int, int]
    scale_reason: str
    anchors: tuple[str, object] | None
    anchor_reason: str
    batch_size: int
    batch_reason: str
    max_epochs: int
    val_interval: int
    learning_rate: float


def choose_settings(
    template: Template, model: ConfigDict, images: Measured, max_epochs: int | None = None
) -> Settings:
    """Choose the settings for a dataset.

    Args:
        template: The detector.
        model: Config of its model.
        images: The training images with their sizes.
        max_epochs: Number of epochs; None to choose it.

    Returns:
        The settings, with their reasons.
    """
    anchors = read_anchors(model)
    smallest = anchors.smallest if anchors else template.sides[0] / 20
    scale, scale_reason = _choose_scale(template.sides, images, smallest)
    sizes = _resized_sizes(images, scale)
    moved = _choose_anchors(anchors, sizes)
    batch, batch_reason = _choose_batch(template, scale, len(images))
    if max_epochs is None:
        wanted = round(NUM_ITERATIONS * MAX_BATCH / len(images))
        max_epochs = min(max(wanted, MIN_EPOCHS), MAX_EPOCHS)
    return Settings(
        scale,
        scale_reason,
        *moved,
        batch,
        batch_reason,
        max_epochs,
        math.ceil(max_epochs / MAX_VALIDATIONS),
        template.rate * batch / template.rate_batch,
    )


def _resized_sizes(images: Measured, scale: tuple[int, int]) -> np.ndarray:
    sizes = []
    for image, (width, height) in images:
        long, short = max(width, height), min(width, height)
        factor = min(scale[0] / long, scale[1] / short)
        boxes = (each.box for each in image.boxes if not each.is_crowd)
        sizes += [factor * max(across * down, 0) ** 0.5 for _, _, across, down in boxes]
    return np.array(sizes)


def _choose_scale(
    sides: Sequence[int], images: Measured, smallest: float
) -> tuple[tuple[int, int], str]:
    """Choose the smallest scale at which most boxes are as large as the smallest anchor.

    It has the images' shape and is not larger than they are.
    """
    own = np.median([max(size) for _, size in images])
    shape = np.percentile([min(size) / max(size) for _, size in images], SHAPE_PERCENTILE)
    for side in sides:
        scale = (side, round(side * shape))
        sizes = _resized_sizes(images, scale)
        small = np.percentile(sizes, SMALL_PERCENTILE) if len(sizes) else smallest
        if small >= smallest or side >= own:
            break
    reason = f'{SMALL_PERCENTILE} % of the boxes are then smaller than {small:.0f} pixels'
    if small < smallest:
        limit = 'the images are not larger' if side >= own else 'the largest scale of this model'
        reason += f', fewer than the {smallest:g} of the smallest anchor: {limit}'
    return scale, reason


def _choose_anchors(
    anchors: Anchors | None, sizes: np.ndarray
) -> tuple[tuple[str, object] | None, str]:
    if anchors is None or not anchors.option:
        return None, ''
    share, factor = share_inside(sizes, anchors), choose_factor(sizes, anchors)
    better = share_inside(sizes, anchors, factor)
    if share >= ENOUGH or better <= share:
        low, high = anchors.smallest, anchors.largest
        return None, f'anchors of {low:g} to {high:g} pixels cover {share:.0%} of the boxes'
    low, high = anchors.smallest * factor, anchors.largest * factor
    values = [value * factor for value in anchors.values]
    value = values if anchors.option == 'scales' else values[0]
    path = f'{anchors.head}.anchor_generator.{anchors.option}'
    reason = f'anchors of {low:g} to {high:g} pixels cover {better:.0%} of the boxes'
    return (path, value), f'{reason}, not {share:.0%}'


def _choose_batch(template: Template, scale: tuple[int, int], num_images: int) -> tuple[int, str]:
    memory = _free_memory()
    factor, owner = (GPU_FACTOR, "the GPU's ") if torch.cuda.is_available() else (1, '')
    each = factor * template.bytes_per_pixel * scale[0] * scale[1]
    fitting = max(1, int(memory * MEMORY_SHARE / each))
    # At least a few steps per epoch.
    batch = min(MAX_BATCH, fitting, max(1, num_images // 4))
    batch = 2 ** (batch.bit_length() - 1)
    return (
        batch,
        f'{each * batch / 2**30:.1f} of {memory / 2**30:.0f} GiB of {owner}memory, roughly',
    )


def _free_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    # What Linux can free counts as well; others only say how much there is.
    with contextlib.suppress(OSError):
        lines = Path('/proc/meminfo').read_text().splitlines()
        sizes = {name: int(rest.split()[0]) for name, _, rest in (x.partition(':') for x in lines)}
        return sizes['MemAvailable'] * 1024
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')

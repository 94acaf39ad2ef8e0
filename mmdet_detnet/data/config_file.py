"""The config of a dataset, for its owner to read and change, with settings chosen for the data."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from mmdet_detnet.config import load_config
from mmdet_detnet.files import config_path

from .image_rules import ANY_DEPTH, SmallValues
from .options import TEMPLATES, Options, Template
from .records import LabeledImage
from .training_config import Anchors, choose_factor, read_anchors, share_inside

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

BRACES = '{{'
LOADERS = ('train', 'val', 'test')
TEXT = """\
# {summary}
_base_ = __import__('mmdet_detnet').config_path('{base}')
data_root = __import__('mmdet_detnet').folder_of_config()  # with the folder annotations
images = {images}
class_names = {classes!r}  # in the order of the annotation files
max_epochs = {settings.max_epochs}
image_scale = {settings.image_scale}  # {settings.scale_reason}
{resizes}
# {settings.anchor_reason}
model = {model}
data = dict(data_root=data_root, metainfo=dict(classes=class_names), data_prefix=dict(img=images))
_base_.train_dataloader.batch_size = {settings.batch_size}  # {settings.batch_reason}
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **data))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **data))
test_dataloader = dict(dataset=dict(ann_file='annotations/{test}.json', **data))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/{test}.json')
train_cfg = dict(max_epochs=max_epochs, val_interval={settings.val_interval})
_base_.param_scheduler[1].T_max = max_epochs
optim_wrapper = dict(optimizer=dict(lr={settings.learning_rate:g}))  # {rate_reason}
custom_hooks = [*_base_.custom_hooks, _base_.early_stopping, _base_.weight_average]
work_dir = data_root + '{work_dir}'
"""
SCALED = """\
# {values}: scaled to 0 to 255, not cut to their upper 8 bits.
loading = [dict(type='LoadImageFromFile', color_type={depth}), {scale}]
_base_.train_dataloader.dataset.pipeline[:1] = loading
_base_.val_dataloader.dataset.pipeline[:1] = loading
_base_.test_dataloader.dataset.pipeline[:1] = loading
"""
START = 'load_from = {}  # the weights to start from\n'

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


def compose_config(
    file: Path,
    options: Options,
    images: Measured,
    classes: Sequence[str],
    test_split: str = 'test',
    small_values: SmallValues | None = None,
) -> tuple[str, Settings]:
    """Compose a config that stands next to the folder ``annotations``.

    Args:
        file: Its path; nothing is written.
        options: The user's options.
        images: The training images with their sizes.
        classes: Class names in the order of the annotation files.
        test_split: Split of the test's annotation file.
        small_values: The part of their range that the values of the images use, to be scaled.

    Returns:
        The text of the config, and the chosen settings.

    Raises:
        ValueError: If a class cannot have its name.
    """
    for name in classes:
        if BRACES in name:
            # The config could have it, but not mmengine's copies of the config.
            raise ValueError(
                f'the class {name!r} must not contain {BRACES}, which mmengine replaces in '
                'configs, even by code. Rename it.'
            )
    template = TEMPLATES[options.model]
    base = load_config(config_path(template.config))
    settings = choose_settings(template, base.model, images, options.max_epochs)
    values = dict.fromkeys(_class_counts(base.model), len(classes))
    text = TEXT.format(
        summary=f'{len(images)} training images. Written by mmdet-detnet new, for you to change.',
        base=template.config,
        images=_quote(_images_prefix(options.image_folder, file.parent)),
        classes=tuple(classes),
        settings=settings,
        resizes=_resizes(base),
        model=_nested({**values, **dict([settings.anchors] if settings.anchors else [])}),
        test=test_split,
        rate_reason=f'{template.rate:g} for batches of {template.rate_batch}',
        work_dir=file.stem,
    )
    if small_values is not None and not small_values.is_mixed:
        scale = _write(small_values.transform)
        text += SCALED.format(values=small_values, depth=ANY_DEPTH, scale=scale)
    if options.start_from is not None:
        text += START.format(_quote(str(options.start_from.resolve())))
    return text, settings


def _quote(text: str) -> str:
    """Write a text for Python, without the braces in which mmengine replaces variables."""
    return repr(text).replace(BRACES, '{\\x7b')


def _images_prefix(images: Path, folder: Path) -> str:
    """Return the images' folder, relative to the config's if both can be moved together."""
    images, folder = images.resolve(), folder.resolve()
    if images.is_relative_to(folder.parent):
        return f'{Path(os.path.relpath(images, folder)).as_posix()}/'
    return f'{images.as_posix()}/'


def _resizes(base: Config) -> str:
    lines = []
    for loader in LOADERS:
        pipeline = base[f'{loader}_dataloader'].dataset.pipeline
        number = next(i for i, each in enumerate(pipeline) if each.type == 'Resize')
        place = f'_base_.{loader}_dataloader.dataset.pipeline[{number}]'
        lines.append(f'{place}.scale = image_scale')
    return '\n'.join(lines)


def _class_counts(node: Mapping, path: str = '') -> Iterator[str]:
    """Find the options for the number of classes, except that of an RPN head."""
    for key, value in node.items():
        if key == 'num_classes':
            yield f'{path}{key}'
        elif isinstance(value, Mapping) and key != 'rpn_head':
            yield from _class_counts(value, f'{path}{key}.')


def _nested(values: Mapping[str, object]) -> str:
    """Format dotted options as nested calls of ``dict``."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, key = path.split('.')
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = value
    return _write(tree)


def _write(value: object) -> str:
    if not isinstance(value, dict):
        return repr(value)
    return f'dict({", ".join(f"{key}={_write(each)}" for key, each in value.items())})'


def choose_settings(
    template: Template, model: ConfigDict, images: Measured, max_epochs: int | None = None
) -> Settings:
    """Choose the settings for a dataset.

    Args:
        template: The detector.
        model: Config of its model.
        images: The training images with their sizes.
        max_epochs: Number of epochs; None to choose it.
    """
    anchors = read_anchors(model)
    smallest = anchors.smallest if anchors else template.sides[0] / 20
    scale, scale_reason, sizes = _choose_scale(template.sides, images, smallest)
    batch, batch_reason = _choose_batch(template, scale, len(images))
    if max_epochs is None:
        wanted = round(NUM_ITERATIONS * MAX_BATCH / len(images))
        max_epochs = min(max(wanted, MIN_EPOCHS), MAX_EPOCHS)
    return Settings(
        scale,
        scale_reason,
        *_choose_anchors(anchors, sizes),
        batch,
        batch_reason,
        max_epochs,
        math.ceil(max_epochs / MAX_VALIDATIONS),
        template.rate * batch / template.rate_batch,
    )


def _choose_scale(
    sides: Sequence[int], images: Measured, smallest: float
) -> tuple[tuple[int, int], str, np.ndarray]:
    """Choose the smallest scale at which most boxes are as large as the smallest anchor.

    It has the images' shape and is not larger than they are.

    Returns:
        The scale, the reason, and the square roots of the resized boxes' areas, in pixels.
    """
    long, short = np.array([(max(size), min(size)) for _, size in images], float).T
    own, shape = np.median(long), np.percentile(short / long, SHAPE_PERCENTILE)
    boxes = [[each.box for each in image.boxes if not each.is_crowd] for image, _ in images]
    owners = np.repeat(np.arange(len(images)), [*map(len, boxes)])
    areas = np.array([width * height for of_image in boxes for _, _, width, height in of_image])
    original = np.sqrt(areas.clip(min=0))
    for side in sides:
        scale = (side, round(side * shape))
        factors = np.minimum(scale[0] / long, scale[1] / short)
        sizes = factors[owners] * original
        small = np.percentile(sizes, SMALL_PERCENTILE) if len(sizes) else smallest
        if small >= smallest or side >= own:
            break
    reason = f'{SMALL_PERCENTILE} % of the boxes are then smaller than {small:.0f} pixels'
    if small < smallest:
        limit = 'the images are not larger' if side >= own else 'the largest scale of this model'
        reason += f', fewer than the {smallest:g} of the smallest anchor: {limit}'
    return scale, reason, sizes


def _choose_anchors(
    anchors: Anchors | None, sizes: np.ndarray
) -> tuple[tuple[str, object] | None, str]:
    if anchors is None or not anchors.option:
        return None, ''
    share = share_inside(sizes, anchors)
    moved = anchors.scaled(choose_factor(sizes, anchors))
    better = share_inside(sizes, moved)
    if share >= ENOUGH or better <= share:
        low, high = anchors.smallest, anchors.largest
        return None, f'anchors of {low:g} to {high:g} pixels cover {share:.0%} of the boxes'
    value = [*moved.values] if anchors.option == 'scales' else moved.values[0]
    reason = (
        f'anchors of {moved.smallest:g} to {moved.largest:g} pixels cover {better:.0%} of the '
        f'boxes, not {share:.0%}'
    )
    return (f'{anchors.head}.anchor_generator.{anchors.option}', value), reason


def _choose_batch(template: Template, scale: tuple[int, int], num_images: int) -> tuple[int, str]:
    memory = _free_memory()
    factor, owner = (GPU_FACTOR, "the GPU's ") if torch.cuda.is_available() else (1, '')
    each = factor * template.bytes_per_pixel * scale[0] * scale[1]
    fitting = max(1, int(memory * MEMORY_SHARE / each))
    # At least a few steps per epoch.
    batch = min(MAX_BATCH, fitting, max(1, num_images // 4))
    batch = 2 ** (batch.bit_length() - 1)
    sizes = f'{each * batch / 2**30:.1f} of {memory / 2**30:.0f} GiB'
    return batch, f'{sizes} of {owner}memory, roughly'


def _free_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    # What Linux can free counts as well; others only say how much there is.
    with contextlib.suppress(OSError):
        lines = Path('/proc/meminfo').read_text().splitlines()
        sizes = {name: int(rest.split()[0]) for name, _, rest in (x.partition(':') for x in lines)}
        return sizes['MemAvailable'] * 1024
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')

"""The config of a dataset, for its owner to read and change, with settings chosen for the data."""

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict

from mmdet_detnet.config import load_config
from mmdet_detnet.files import config_path

from .image_rules import ANY_DEPTH, SmallValues
from .options import TEMPLATES, Options
from .records import LabeledImage
from .training_config import Anchors, read_anchors

# Possible long sides of the images in pixels, learning rate, and the batch size that it is for.
SLIM = (320, 416, 512, 640), 1e-3, 8
FULL_WIDTH = (640, 800, 1024, 1333), 1e-4, 4
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
TEXT = """\
# {num_images} training images. Written by mmdet-detnet new, for you to change.
_base_ = __import__('mmdet_detnet').config_path('{base}')
data_root = __import__('mmdet_detnet').folder_of_config()  # with the folder annotations
images = {images}
class_names = {classes!r}  # in the order of the annotation files
max_epochs = {max_epochs}
image_scale = {image_scale}  # {scale_reason}
{resizes}
# {anchor_reason}
{model}
data = dict(data_root=data_root, metainfo=dict(classes=class_names), data_prefix=dict(img=images))
_base_.train_dataloader.batch_size = {batch_size}  # {batch_reason}
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **data))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **data))
test_dataloader = dict(dataset=dict(ann_file='annotations/{test}.json', **data))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/{test}.json')
train_cfg = dict(max_epochs=max_epochs, val_interval={val_interval})
_base_.param_scheduler[1].T_max = max_epochs
optim_wrapper = dict(optimizer=dict(lr={lr:g}))  # {rate:g} for batches of {rate_batch}
auto_scale_lr = dict(base_batch_size={batch_size})  # of this rate, for --auto-scale-lr
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
SUMMARY = """
images {image_scale[0]} x {image_scale[1]}: {scale_reason}
{anchor_reason}
batches of {batch_size}: {batch_reason}
epochs: {max_epochs}"""


def compose_config(
    file: Path,
    options: Options,
    images: Sequence[LabeledImage],
    classes: Sequence[str],
    test_split: str = 'test',
    small_values: SmallValues | None = None,
) -> tuple[str, str]:
    """Compose a config at a path next to the folder ``annotations``; nothing is written.

    ``images`` are those of training, ``small_values`` the part of their range that they use.

    Returns:
        The text of the config, and a summary of the chosen settings.

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
    base = f'custom/{options.model}_fpn_custom.py'
    cfg = load_config(config_path(base))
    settings, anchors = choose_settings(options.model, cfg.model, images, options.max_epochs)
    resizes = []
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipeline = cfg[loader].dataset.pipeline
        number = next(i for i, each in enumerate(pipeline) if each.type == 'Resize')
        resizes.append(f'_base_.{loader}.dataset.pipeline[{number}].scale = image_scale')
    head = 'roi_head.bbox_head' if 'roi_head' in cfg.model else 'bbox_head'
    model = {f'{head}.num_classes': len(classes), **anchors}
    text = TEXT.format(
        **settings,
        num_images=len(images),
        base=base,
        images=_quote(_images_prefix(options.image_folder, file.parent)),
        classes=tuple(classes),
        resizes='\n'.join(resizes),
        model='\n'.join(f'_base_.model.{key} = {value}' for key, value in model.items()),
        test=test_split,
        work_dir=file.stem,
    )
    summary = SUMMARY.format(**settings)
    if small_values is not None and not small_values.is_mixed:
        text += SCALED.format(values=small_values, depth=ANY_DEPTH, scale=small_values.code)
        summary += f'\n{small_values}: the config scales them to 0 to 255.'
    if options.start_from is not None:
        text += START.format(_quote(str(options.start_from.resolve())))
    return text, summary


def _quote(text: str) -> str:
    """Write a text for Python, without the braces in which mmengine replaces variables."""
    return repr(text).replace(BRACES, '{\\x7b')


def _images_prefix(images: Path, folder: Path) -> str:
    """Return the images' folder, relative to the config's if both can be moved together."""
    images, folder = images.resolve(), folder.resolve()
    if images.is_relative_to(folder.parent):
        return f'{Path(os.path.relpath(images, folder)).as_posix()}/'
    return f'{images.as_posix()}/'


def choose_settings(
    name: str, model: ConfigDict, images: Sequence[LabeledImage], max_epochs: int | None = None
) -> tuple[dict[str, Any], dict[str, object]]:
    """Choose the settings of a detector for training images; None chooses ``max_epochs``, too.

    Returns:
        Settings and their reasons, for ``TEXT``, and options of the model for the anchors.
    """
    sides, rate, rate_batch = SLIM if name.endswith('-slim') else FULL_WIDTH
    anchors = read_anchors(model)
    smallest = anchors.smallest if anchors else sides[0] / 20
    scale, scale_reason, sizes = _choose_scale(sides, images, smallest)
    anchor_options, anchor_reason = _choose_anchors(anchors, sizes)
    batch, batch_reason = _choose_batch(TEMPLATES[name], scale, len(images))
    if max_epochs is None:
        wanted = round(NUM_ITERATIONS * MAX_BATCH / len(images))
        max_epochs = min(max(wanted, MIN_EPOCHS), MAX_EPOCHS)
    settings = dict(
        image_scale=scale,
        scale_reason=scale_reason,
        anchor_reason=anchor_reason,
        batch_size=batch,
        batch_reason=batch_reason,
        max_epochs=max_epochs,
        val_interval=math.ceil(max_epochs / MAX_VALIDATIONS),
        lr=rate * batch / rate_batch,
        rate=rate,
        rate_batch=rate_batch,
    )
    return settings, anchor_options


def _choose_scale(
    sides: Sequence[int], images: Sequence[LabeledImage], smallest: float
) -> tuple[tuple[int, int], str, np.ndarray]:
    """Choose the smallest scale at which most boxes are as large as the smallest anchor.

    It has the images' shape and is not larger than they are. Returns it, the reason, and the square
    roots of the resized boxes' areas.
    """
    long, short = np.array([(max(image.size), min(image.size)) for image in images], float).T
    own, shape = np.median(long), np.percentile(short / long, SHAPE_PERCENTILE)
    boxes = [[each.box for each in image.boxes if not each.is_crowd] for image in images]
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


def _choose_anchors(anchors: Anchors | None, sizes: np.ndarray) -> tuple[dict[str, object], str]:
    if anchors is None or not anchors.option:
        return {}, ''
    moved, share = anchors.moved(sizes, ENOUGH), anchors.share(sizes)
    reason = f'anchors of {moved.smallest:g} to {moved.largest:g} pixels cover '
    if moved is anchors:
        return {}, f'{reason}{share:.0%} of the boxes'
    option = f'{anchors.head}.anchor_generator.{anchors.option}'
    value = [*moved.values] if anchors.option == 'scales' else moved.values[0]
    return {option: value}, f'{reason}{moved.share(sizes):.0%} of the boxes, not {share:.0%}'


def _choose_batch(memory: int, scale: tuple[int, int], num_images: int) -> tuple[int, str]:
    """Choose the batch size for a detector that takes so many bytes per pixel on a CPU."""
    free, factor, owner = _free_memory(), 1.0, ''
    if torch.cuda.is_available():
        free, factor, owner = torch.cuda.mem_get_info()[0], GPU_FACTOR, "the GPU's "
    each = factor * memory * scale[0] * scale[1]
    fitting = max(1, int(free * MEMORY_SHARE / each))
    # At least a few steps per epoch.
    batch = min(MAX_BATCH, fitting, max(1, num_images // 4))
    batch = 2 ** (batch.bit_length() - 1)
    sizes = f'{each * batch / 2**30:.1f} of {free / 2**30:.0f} GiB'
    return batch, f'{sizes} of {owner}memory, roughly'


def _free_memory() -> int:
    # What Linux can free counts as well; others only say how much there is.
    with contextlib.suppress(OSError):
        lines = Path('/proc/meminfo').read_text().splitlines()
        sizes = {name: int(rest.split()[0]) for name, _, rest in (x.partition(':') for x in lines)}
        return sizes['MemAvailable'] * 1024
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')

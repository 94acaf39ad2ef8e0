"""The config of a dataset, for its owner to read and change."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdet_detnet.files import config_path

from .images import ANY_DEPTH, SmallValues
from .options import TEMPLATES
from .settings import Measured, Settings, choose_settings

TEMPLATE = '{{'
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


def compose_config(
    file: Path,
    model_name: str,
    images: Measured,
    classes: Sequence[str],
    images_folder: Path,
    test_split: str = 'test',
    start_from: Path | None = None,
    max_epochs: int | None = None,
    small_values: SmallValues | None = None,
) -> tuple[str, Settings]:
    """Compose a config that stands next to the folder ``annotations``.

    Args:
        file: Its path; nothing is written.
        model_name: One of ``TEMPLATES``.
        images: The training images with their sizes.
        classes: Class names in the order of the annotation files.
        images_folder: Folder that image names are relative to.
        test_split: Split of the test's annotation file.
        start_from: Checkpoint to start from; None for the template's weights.
        max_epochs: Number of epochs; None to choose it.
        small_values: The part of their range that the values of the images use, to be scaled.

    Returns:
        The text of the config, and the chosen settings.

    Raises:
        ValueError: If a class cannot have its name.
    """
    for name in classes:
        if TEMPLATE in name:
            # The config could have it, but not mmengine's copies of the config.
            raise ValueError(
                f'the class {name!r} must not contain {TEMPLATE}, which mmengine replaces in '
                'configs, even by code. Rename it.'
            )
    template = TEMPLATES[model_name]
    base = Config.fromfile(config_path(template.config))
    settings = choose_settings(template, base.model, images, max_epochs)
    values = dict.fromkeys(_class_counts(base.model), len(classes))
    text = TEXT.format(
        summary=f'{len(images)} training images. Written by mmdet-detnet new, for you to change.',
        base=template.config,
        images=_quote(_images_prefix(images_folder, file.parent)),
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
    if start_from is not None:
        text += START.format(_quote(str(start_from.resolve())))
    return text, settings


def _quote(text: str) -> str:
    """Write a text for Python, without the braces in which mmengine replaces variables."""
    return repr(text).replace(TEMPLATE, '{\\x7b')


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

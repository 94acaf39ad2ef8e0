"""All steps from a folder of annotated images to a config to train."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmdet_detnet.analysis.dataset import draw_distributions
from mmdet_detnet.analysis.dataset.check import check_annotations
from mmdet_detnet.analysis.dataset.images import check_images
from mmdet_detnet.analysis.dataset.training_config import read_training_config

from .annotations import measure_images, write_annotations
from .config_file import write_config
from .files import SPLITS
from .fixes import fix_images
from .formats import read_folder
from .records import LabeledSet
from .splits import Split, apply_splits, choose_splits, read_splits, write_splits
from .templates import TEMPLATES

SPLIT_FILE = 'splits.csv'


@dataclass(frozen=True)
class Options:
    """Options for a data set.

    Attributes:
        folder: The folder with images and annotations.
        model: One of ``TEMPLATES``.
        out: Output folder; None for ``NAME-detector`` in the working directory.
        images: Folder of the images, below ``folder``.
        annotations: Folder or file of the annotations.
        format_name: One of :data:`mmdet_detnet.own_data.formats.FORMATS`.
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


def create_project(options: Options) -> Path | None:
    """Read, split and check a data set and write a config; print findings and choices.

    Args:
        options: The user's options.

    Returns:
        The config; None if the checks found problems that would stop training or make it wrong.

    Raises:
        FileNotFoundError: If a folder or the checkpoint is missing.
        FileExistsError: If the config exists.
        ValueError: If the data set is unusable or an option is wrong.
    """
    _check_options(options)
    root = options.images or options.folder
    out = (options.out or Path(f'{_plain_name(options.folder)}-detector')).resolve()
    config = out / f'{options.model}.py'
    if config.exists() and not options.overwrite:
        raise FileExistsError(f'{config} exists. Use --overwrite to replace it.')
    labeled = _read(options, out)
    split = _divide(labeled, root, out / SPLIT_FILE, options)
    images = apply_splits(labeled.images, split)
    if options.fix:
        images, fixes = fix_images(images, root, out / 'images')
        print(*fixes, sep='\n')
    measured, unreadable = measure_images(images)
    print(*unreadable, sep='\n', end='\n' if unreadable else '')
    classes = labeled.all_classes()
    present = [name for name in SPLITS if any(each.split == name for each, _ in measured)]
    for name in present:
        part = [pair for pair in measured if pair[0].split == name]
        write_annotations(out / f'annotations/{name}.json', part, classes, root)
    training = [pair for pair in measured if pair[0].split == 'train']
    settings = write_config(
        config,
        options.model,
        training,
        classes,
        root,
        present[-1],
        options.start_from,
        options.max_epochs,
    )
    if not _check(config, present, root):
        config.unlink()
        return None
    print(
        f'\nimages {settings.image_scale[0]} x {settings.image_scale[1]}: {settings.scale_reason}\n'
        f'{settings.anchor_reason}\n'
        f'batches of {settings.batch_size}: {settings.batch_reason}\n'
        f'{settings.max_epochs} epochs; written: {config}'
    )
    return config


def _check_options(options: Options) -> None:
    if options.model not in TEMPLATES:
        raise ValueError(f'--model must be one of {", ".join(TEMPLATES)}, got {options.model!r}.')
    for place in (options.folder, options.images):
        if place is not None and not place.is_dir():
            raise FileNotFoundError(f'no such folder: {place}')
    for place in (options.annotations, options.start_from):
        if place is not None and not place.exists():
            raise FileNotFoundError(f'no such file or folder: {place}')
    if options.max_epochs is not None and options.max_epochs < 1:
        raise ValueError(f'--epochs must be at least 1, got {options.max_epochs}.')


def _plain_name(folder: Path) -> str:
    return re.sub(r'[^\w.-]+', '_', folder.resolve().name) or 'data'


def _read(options: Options, out: Path) -> LabeledSet:
    name, labeled = read_folder(
        options.folder,
        options.images,
        options.annotations,
        options.format_name,
        options.zero_based,
        out,
    )
    boxes = sum(len(image.boxes) for image in labeled.images)
    classes = labeled.all_classes()
    if not boxes:
        raise ValueError(f'{options.folder}: found no box of an existing image.')
    print(f'{options.folder}: {name}, {len(labeled.images)} images with {boxes} boxes')
    print(f'classes: {", ".join(classes)}')
    for finding in labeled.findings:
        print(finding)
    return labeled


def _divide(labeled: LabeledSet, root: Path, file: Path, options: Options) -> Split:
    if file.exists() and not options.resplit:
        split, words = read_splits(file, labeled.images, root), f'as {file} has it'
    else:
        split, words = choose_splits(labeled.images, root, options.seed, options.group_by)
        write_splits(file, labeled.images, split, root)
    counts = Counter(split.values())
    parts = ', '.join(f'{name} {counts[name]}' for name in SPLITS if counts[name])
    print(f'parts ({words}): {parts}')
    left_out = len(labeled.images) - len(split)
    if left_out:
        print(f'images outside all splits, skipped: {left_out}')
    if not counts['test']:
        print('no test images: validation images are used, so test results will be too good.')
    return split


def _check(config: Path, present: list[str], root: Path) -> bool:
    """Check each split, write the reports and print the findings."""
    training = read_training_config(config)
    read_images = partial(check_images, folder=root)
    reports = {
        name: check_annotations(config.parent / f'annotations/{name}.json', training, read_images)
        for name in present
    }
    for name, report in reports.items():
        short = '\n'.join(map(str, [report.headline, *report.findings]))
        print(report if name == 'train' else short)
        text = json.dumps(report.as_dict(), indent=1)
        (config.parent / f'annotations/{name}_report.json').write_text(text, encoding='utf-8')
    draw_distributions(reports['train'], config.parent / 'boxes.png')
    return not any(report.problems for report in reports.values())

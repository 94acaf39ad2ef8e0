"""All steps from a folder of annotated images to a config to train."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmdet_detnet.data.check import check_annotations
from mmdet_detnet.data.dataset_check import draw_distributions
from mmdet_detnet.data.images import find_shared_pictures, find_small_values
from mmdet_detnet.data.problems import Problem
from mmdet_detnet.data.training_config import read_training_config

from .annotations import measure_images, write_annotations
from .config_file import compose_config
from .files import SPLITS
from .fixes import fix_images
from .formats import read_folder
from .options import Options
from .records import LabeledImage, LabeledSet
from .settings import Measured, Settings
from .splits import apply_splits, choose_splits, read_splits, write_splits
from .templates import TEMPLATES

SPLIT_FILE = 'splits.csv'


def create_project(options: Options) -> Path | None:
    """Read, split and check a data set and write a config; print problems and choices.

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
    images = _split(labeled.images, root, out / SPLIT_FILE, options)
    if options.fix:
        images, repairs = fix_images(images, root, out / 'images')
        _print_problems(repairs)
    classes = labeled.all_classes()
    splits = _write_annotations(images, classes, out / 'annotations', root)
    text, settings = compose_config(
        config,
        options.model,
        splits['train'],
        classes,
        root,
        'test' if 'test' in splits else 'val',
        options.start_from,
        options.max_epochs,
        find_small_values([image.path for image, _ in splits['train']]),
    )
    if not _check(text, [*splits], out, root):
        return None
    config.write_text(text, encoding='utf-8')
    _print_settings(settings)
    print(f'written: {config}')
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
    _print_problems(labeled.problems)
    return labeled


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem)


def _split(
    images: Sequence[LabeledImage], root: Path, file: Path, options: Options
) -> list[LabeledImage]:
    """Set the split of each image, as in the file or newly chosen; drop images without one."""
    if file.exists() and not options.resplit:
        split, source = read_splits(file, images, root), f'from {file}'
    else:
        split, source = choose_splits(images, root, options.seed, options.group_by)
        write_splits(file, images, split, root)
    counts = Counter(split.values())
    print(f'splits ({source}): {", ".join(f"{name} {counts[name]}" for name in SPLITS)}')
    if len(split) < len(images):
        print(f'images outside all splits, skipped: {len(images) - len(split)}')
    if not counts['test']:
        print('no test images: validation images are used, so test results will be too good.')
    return apply_splits(images, split)


def _write_annotations(
    images: Sequence[LabeledImage], classes: Sequence[str], folder: Path, root: Path
) -> dict[str, Measured]:
    """Write the annotation file of each split; return its images with their sizes."""
    measured, unreadable = measure_images(images)
    _print_problems(unreadable)
    splits = {name: [pair for pair in measured if pair[0].split == name] for name in SPLITS}
    for name in ('train', 'val'):
        if not splits[name]:
            raise ValueError(f'{root}: no readable image is left for {name}.')
    for name, of_split in splits.items():
        if of_split:
            write_annotations(folder / f'{name}.json', of_split, classes, root)
    return {name: of_split for name, of_split in splits.items() if of_split}


def _check(config_text: str, splits: Sequence[str], out: Path, root: Path) -> bool:
    """Check each split, write the results and print the problems."""
    training = read_training_config(Config.fromstring(config_text, '.py'))
    files = {name: out / f'annotations/{name}.json' for name in splits}
    checks = {name: check_annotations(file, training, root) for name, file in files.items()}
    for name, check in checks.items():
        short = '\n'.join(map(str, [check.headline, *check.all_problems]))
        print(check if name == 'train' else short)
        text = json.dumps(check.as_dict(), indent=1)
        files[name].with_name(f'{name}_check.json').write_text(text, encoding='utf-8')
    _print_problems(find_shared_pictures({n: check.pictures for n, check in checks.items()}))
    draw_distributions(checks['train'], out / 'boxes.png')
    return not any(check.problems for check in checks.values())


def _print_settings(settings: Settings) -> None:
    width, height = settings.image_scale
    print(f'\nimages {width} x {height}: {settings.scale_reason}')
    print(settings.anchor_reason)
    print(f'batches of {settings.batch_size}: {settings.batch_reason}')
    print(f'epochs: {settings.max_epochs}')

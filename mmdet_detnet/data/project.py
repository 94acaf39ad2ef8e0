"""What ``mmdet-detnet new`` does: from a folder of annotated images to a config to train."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmdet_detnet.files import OutputFolder, stop_collector, write_file

from .annotation_rules import AnnotationFile
from .check import check_annotations, draw_distributions
from .config_file import Measured, compose_config
from .formats import read_folder
from .image_rules import find_shared_pictures, find_small_values, fix_images
from .images import read_header, show_progress
from .options import TEMPLATES, Options
from .records import SPLITS, LabeledBox, LabeledImage, Problem, problem_of
from .splits import apply_splits, choose_splits, read_splits, write_splits
from .training_config import read_training_config

SPLIT_FILE = 'splits.csv'
PICTURE = 'boxes.png'


@stop_collector()
def create_project(options: Options) -> Path | None:
    """Read, split and check a dataset and write a config; print problems and choices.

    Args:
        options: The user's options.

    Returns:
        The config; None if the checks found problems that would stop training or make it wrong.

    Raises:
        FileNotFoundError: If a folder or the checkpoint is missing.
        FileExistsError: If the config exists, or a file of the user's is in the way.
        ValueError: If the dataset is unusable or an option is wrong.
    """
    _check_options(options)
    default = re.sub(r'[^\w.-]+', '_', options.folder.resolve().name) or 'data'
    out = OutputFolder((options.out or Path(f'{default}-detector')).resolve())
    config = out.folder / f'{options.model}.py'
    results = (f'annotations/{split}{end}' for split in SPLITS for end in ('.json', '_check.json'))
    out.check(config.name, SPLIT_FILE, PICTURE, *results)
    if config.exists() and not options.overwrite:
        raise FileExistsError(f'{config} exists. Use --overwrite to replace it.')

    images, classes = _read(options, out)
    images = _split(images, out, options)
    if options.fix:
        images, repairs = fix_images(images, options.image_folder, out)
        _print_problems(repairs)
    splits = _measure(images, options.image_folder)
    del images
    small_values = find_small_values([image.path for image, _ in splits['train']])
    test = 'test' if 'test' in splits else 'val'
    text, settings = compose_config(config, options, splits['train'], classes, test, small_values)
    if not _write_and_check(splits, classes, text, out, options):
        return None
    write_file(out.path(config.name), text.encode())
    width, height = settings.image_scale
    print(f'\nimages {width} x {height}: {settings.scale_reason}')
    print(settings.anchor_reason)
    print(f'batches of {settings.batch_size}: {settings.batch_reason}')
    print(f'epochs: {settings.max_epochs}')
    if small_values is not None and not small_values.is_mixed:
        print(f'{small_values}: the config scales them to 0 to 255.')
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


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem)


def _read(options: Options, out: OutputFolder) -> tuple[list[LabeledImage], list[str]]:
    name, labeled = read_folder(options, out)
    classes = labeled.all_classes()
    num_boxes = sum(len(image.boxes) for image in labeled.images)
    if not num_boxes:
        _print_problems(labeled.problems)
        raise ValueError(f'{options.folder}: found no box of an existing image.')
    print(f'{options.folder}: {name}, {len(labeled.images)} images with {num_boxes} boxes')
    print(f'classes: {", ".join(classes)}')
    _print_problems(labeled.problems)
    return labeled.images, classes


def _split(
    images: Sequence[LabeledImage], out: OutputFolder, options: Options
) -> list[LabeledImage]:
    """Set the split of each image, as in the file or newly chosen; drop images without one."""
    root, file = options.image_folder, out.folder / SPLIT_FILE
    if file.exists() and not options.resplit:
        split, source = read_splits(file, images, root), f'from {file}'
    else:
        split, source = choose_splits(images, root, options.seed, options.group_by)
        write_splits(out.path(SPLIT_FILE), images, split, root)
    counts = Counter(split.values())
    print(f'splits ({source}): {", ".join(f"{name} {counts[name]}" for name in SPLITS)}')
    if len(split) < len(images):
        print(f'images outside all splits, skipped: {len(images) - len(split)}')
    if not counts['test']:
        print('no test images: validation images are used, so test results will be too good.')
    return apply_splits(images, split)


def _measure(images: Sequence[LabeledImage], root: Path) -> dict[str, Measured]:
    """Find the size of each image, from the annotations or else from the file, by its split.

    Unreadable images are left out, and splits without images.
    """
    splits: dict[str, list[tuple[LabeledImage, tuple[int, int]]]] = {name: [] for name in SPLITS}
    unreadable = []
    for image in show_progress(images, desc='reading image sizes', unit='image'):
        size = image.size
        if size is None:
            state = read_header(image.path)
            size = None if state.error else state.size
            unreadable += [f'{image.path.name} ({state.error})'] if state.error else []
        if size is not None:
            splits[image.split].append((image, size))
    message = 'unreadable images without a size in the annotations. Skipped.'
    _print_problems(problem_of('undecodable-image', message, unreadable, is_warning=True))
    for name in ('train', 'val'):
        if not splits[name]:
            raise ValueError(f'{root}: no readable image is left for {name}.')
    return {name: of_split for name, of_split in splits.items() if of_split}


def _compose_annotations(images: Measured, classes: Sequence[str], root: Path) -> dict[str, Any]:
    """Compose the content of an annotation file in COCO's format; ids start at 1."""
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    records = []
    annotations: list[dict[str, Any]] = []
    rows = show_progress(images, desc='writing annotations', unit='image')
    for image_id, (image, (width, height)) in enumerate(rows, start=1):
        path = image.path
        # A repaired copy is outside of the folder. A link to that has another folder above it.
        is_inside = path.is_relative_to(root)
        name = path.relative_to(root) if is_inside else os.path.relpath(path, root.resolve())
        file_name = Path(name).as_posix()
        records.append({'id': image_id, 'file_name': file_name, 'width': width, 'height': height})
        for box in image.boxes:
            annotations.append(_compose_annotation(len(annotations) + 1, image_id, box, numbers))
    categories = [{'id': number, 'name': name} for name, number in numbers.items()]
    return {'images': records, 'annotations': annotations, 'categories': categories}


def _compose_annotation(
    number: int, image_id: int, box: LabeledBox, numbers: Mapping[str, int]
) -> dict[str, Any]:
    _, _, width, height = box.box
    record = {
        'id': number,
        'image_id': image_id,
        'category_id': numbers[box.label],
        'bbox': list(box.box),
        'area': width * height if box.area is None else box.area,
        'iscrowd': int(box.is_crowd),
    }
    return record if box.segmentation is None else {**record, 'segmentation': box.segmentation}


def _write_and_check(
    splits: dict[str, Measured],
    classes: Sequence[str],
    config_text: str,
    out: OutputFolder,
    options: Options,
) -> bool:
    """Write the annotations of each split, check them, write the results and print the problems."""
    with TemporaryDirectory() as folder:
        config = Path(folder, 'config.py')
        config.write_text(config_text, encoding='utf-8')
        training = read_training_config(config)
    root = options.image_folder
    checks = {}
    for split in [*splits]:
        # Of a large dataset, only one split at a time is in memory twice.
        content = _compose_annotations(splits.pop(split), classes, root)
        name = f'annotations/{split}.json'
        write_file(out.path(name), json.dumps(content).encode())
        check = check_annotations(
            out.folder / name, training, root, file=AnnotationFile(**content), decode=options.decode
        )
        short = '\n'.join(map(str, [check.headline, *check.all_problems]))
        print(check if split == 'train' else short)
        text = json.dumps(check.as_dict(), indent=1)
        write_file(out.path(f'annotations/{split}_check.json'), text.encode())
        checks[split] = check
    _print_problems(find_shared_pictures({n: check.pictures for n, check in checks.items()}))
    draw_distributions(checks['train'], out.path(PICTURE))
    return not any(check.problems for check in checks.values())

"""What ``mmdet-detnet new`` does: from a folder of annotated images to a config to train."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmdet_detnet.files import OutputFolder, stop_collector, write_file

from . import annotation_rules as rules
from .check import check_annotations, draw_distributions
from .config_file import compose_config
from .formats import read_folder
from .image_rules import find_shared_pictures, find_small_values, fix_images
from .images import read_image, show_progress
from .options import TEMPLATES, Options
from .records import SPLITS, UNKNOWN_SIZE, LabeledImage, Problems
from .splits import choose_splits, read_splits, write_splits
from .training_config import TrainingConfig, read_training_config

SPLIT_FILE = 'splits.csv'
PICTURE = 'boxes.png'


@stop_collector()
def create_project(options: Options) -> Path | None:
    """Read, split and check a dataset and write a config; print problems and choices.

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
    out.check(config.name, SPLIT_FILE, PICTURE, *(f'annotations/{name}.json' for name in SPLITS))
    if config.exists() and not options.overwrite:
        raise FileExistsError(f'{config} exists. Use --overwrite to replace it.')

    images, classes = _read(options, out)
    images = _split(images, out, options)
    if options.fix:
        repairs = Problems()
        images = fix_images(images, options.image_folder, out, repairs)
        repairs.print()
    images = _measure(images)
    splits = {name: [image for image in images if image.split == name] for name in SPLITS}
    for name in ('train', 'val'):
        if not splits[name]:
            raise ValueError(f'{options.folder}: no readable image is left for {name}.')
    del images
    small_values = find_small_values([image.path for image in splits['train']])
    test = 'test' if splits['test'] else 'val'
    text, summary = compose_config(config, options, splits['train'], classes, test, small_values)
    with TemporaryDirectory() as folder:
        copy = Path(folder, 'config.py')
        copy.write_text(text, encoding='utf-8')
        training = read_training_config(copy)
    if not _write_and_check(splits, classes, training, out, options):
        return None
    write_file(out.path(config.name), text.encode())
    print(f'{summary}\nwritten: {config}')
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


def _read(options: Options, out: OutputFolder) -> tuple[list[LabeledImage], list[str]]:
    name, labeled = read_folder(options, out)
    classes = labeled.all_classes()
    num_boxes = sum(len(image.boxes) for image in labeled.images)
    if num_boxes:
        print(f'{options.folder}: {name}, {len(labeled.images)} images with {num_boxes} boxes')
        print(f'classes: {", ".join(classes)}')
    for problem in labeled.problems:
        print(problem)
    if not num_boxes:
        raise ValueError(f'{options.folder}: found no box of an existing image.')
    return labeled.images, classes


def _split(
    images: Sequence[LabeledImage], out: OutputFolder, options: Options
) -> list[LabeledImage]:
    """Set the split of each image, as in the file or newly chosen; drop images without one."""
    root, file = options.image_folder, out.folder / SPLIT_FILE
    if file.exists() and not options.resplit:
        split, source = read_splits(file, images, root), f'from {file}'
        if options.group_by is not None:
            source += '; --group-by changes nothing in them'
    else:
        split, source = choose_splits(images, root, options.seed, options.group_by)
        write_splits(out.path(SPLIT_FILE), images, split, root)
    counts = Counter(split.values())
    print(f'splits ({source}): {", ".join(f"{name} {counts[name]}" for name in SPLITS)}')
    if len(split) < len(images):
        print(f'images outside all splits, skipped: {len(images) - len(split)}')
    if not counts['test']:
        print('no test images: validation images are used, so test results will be too good.')
    return [replace(each, split=split[each.path]) for each in images if each.path in split]


def _measure(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """Read the sizes that the annotations lack; leave out unreadable images."""
    measured, problems = [], Problems()
    for image in show_progress(images, desc='reading image sizes', unit='image'):
        if image.size == UNKNOWN_SIZE:
            state = read_image(image.path, decode=False)
            if state.error:
                text = 'unreadable images without a size in the annotations. Skipped.'
                problems.warn(f'undecodable-image: {text}', f'{image.path.name} ({state.error})')
                continue
            image = replace(image, size=state.size)
        measured.append(image)
    problems.print()
    return measured


def _compose_annotations(
    images: Sequence[LabeledImage], classes: Sequence[str], root: Path
) -> rules.Content:
    """Compose the content of an annotation file in COCO's format; ids start at 1."""
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    records = []
    annotations: list[dict[str, Any]] = []
    rows = show_progress(images, desc='writing annotations', unit='image')
    for image_id, image in enumerate(rows, start=1):
        path, (width, height) = image.path, image.size
        # A repaired copy is outside of the folder. A link to that has another folder above it.
        is_inside = path.is_relative_to(root)
        name = path.relative_to(root) if is_inside else os.path.relpath(path, root.resolve())
        file_name = Path(name).as_posix()
        records.append({'id': image_id, 'file_name': file_name, 'width': width, 'height': height})
        for box in image.boxes:
            annotation = {
                'id': len(annotations) + 1,
                'image_id': image_id,
                'category_id': numbers[box.label],
                'bbox': list(box.box),
                'area': box.box[2] * box.box[3] if box.area is None else box.area,
                'iscrowd': int(box.is_crowd),
            }
            if box.segmentation is not None:
                annotation['segmentation'] = box.segmentation
            annotations.append(annotation)
    categories = [{'id': number, 'name': name} for name, number in numbers.items()]
    return {'images': records, 'annotations': annotations, 'categories': categories}


def _write_and_check(
    splits: dict[str, list[LabeledImage]],
    classes: Sequence[str],
    training: TrainingConfig,
    out: OutputFolder,
    options: Options,
) -> bool:
    """Write the annotations of each split, check them, write the results and print the problems."""
    root, checks = options.image_folder, {}
    for split in [name for name in SPLITS if splits[name]]:
        # Of a large dataset, only one split at a time is in memory twice.
        content = _compose_annotations(splits.pop(split), classes, root)
        file = out.path(f'annotations/{split}.json')
        write_file(file, json.dumps(content).encode())
        check = check_annotations(file, training, root, content=content, decode=options.decode)
        short = '\n'.join(map(str, [check.headline, *check.all_problems]))
        print(check if split == 'train' else short)
        checks[split] = check
    find_shared_pictures({name: check.pictures for name, check in checks.items()}).print()
    draw_distributions(checks['train'], out.path(PICTURE))
    return not any(check.problems for check in checks.values())

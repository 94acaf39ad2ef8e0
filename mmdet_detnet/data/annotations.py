"""Annotation files in COCO format, one per split."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.images import read_header
from mmdet_detnet.data.problems import Problem, problem_of

from .records import LabeledBox, LabeledImage


def measure_images(
    images: Sequence[LabeledImage],
) -> tuple[list[tuple[LabeledImage, tuple[int, int]]], list[Problem]]:
    """Find the size of each image, from the annotations or else from the file.

    Args:
        images: The images.

    Returns:
        The images with width and height in pixels, and the unreadable images, which are skipped.
    """
    measured, unreadable = [], []
    for image in images:
        if image.size is not None:
            measured.append((image, image.size))
            continue
        state = read_header(image.path)
        if state.error:
            unreadable.append(f'{image.path.name} ({state.error})')
        else:
            measured.append((image, state.size))
    message = 'unreadable images without a size in the annotations. Skipped.'
    return measured, problem_of('undecodable-image', message, unreadable, is_warning=True)


def write_annotations(
    file: Path,
    images: Sequence[tuple[LabeledImage, tuple[int, int]]],
    classes: Sequence[str],
    folder: Path,
) -> None:
    """Write the annotation file of one split; ids start at 1.

    Args:
        file: Path of the file.
        images: The images with their sizes.
        classes: Class names in the order of their labels.
        folder: Folder that image names are relative to.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    records = []
    annotations: list[dict[str, Any]] = []
    for image_id, (image, (width, height)) in enumerate(images, start=1):
        name = Path(os.path.relpath(image.path, folder)).as_posix()
        records.append({'id': image_id, 'file_name': name, 'width': width, 'height': height})
        for box in image.boxes:
            place = {'id': len(annotations) + 1, 'image_id': image_id}
            annotations.append({**place, **_describe(box, numbers)})
    categories = [{'id': number, 'name': name} for name, number in numbers.items()]
    content = {'images': records, 'annotations': annotations, 'categories': categories}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding='utf-8')


def _describe(box: LabeledBox, numbers: dict[str, int]) -> dict[str, Any]:
    _, _, width, height = box.box
    record = {
        'category_id': numbers[box.label],
        'bbox': list(box.box),
        'area': width * height if box.area is None else box.area,
        'iscrowd': int(box.is_crowd),
    }
    return record if box.segmentation is None else {**record, 'segmentation': box.segmentation}

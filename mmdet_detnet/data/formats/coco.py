"""COCO: JSON files with lists of images, annotations and categories."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.annotation_file import (
    AnnotationFile,
    Record,
    is_box,
    is_id,
    is_text,
    select_lists,
)
from mmdet_detnet.data.files import ImageFiles, name_split
from mmdet_detnet.data.problems import problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet, Segmentation

from .shapes import outline_box

LISTS = {'images', 'annotations', 'categories'}


def recognizes(content: object) -> bool:
    """Tell whether a JSON file is in this format.

    Args:
        content: Its content.
    """
    return isinstance(content, dict) and content.keys() >= LISTS


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles) -> LabeledSet:
    """Read annotation files; ids need not agree between them.

    Args:
        files: The files, each with its content.
        images: The images.

    Returns:
        The data set.

    Raises:
        ValueError: If a file is damaged, or two have the same image.
    """
    read_images: list[LabeledImage] = []
    classes: dict[str, None] = {}
    lost: list[str] = []
    for file, whole_content in files:
        content = select_lists(whole_content, file)
        names = {
            each['id']: each['name']
            for each in content.categories
            if is_id(each.get('id')) and is_text(each.get('name'))
        }
        split = name_split(Path(file.name)) or name_split(Path(file.parent.name))
        read_images += _read_images(file, content, names, split, images, lost)
        classes |= dict.fromkeys(names.values())
    repeated = [path for path, n in Counter(each.path for each in read_images).items() if n > 1]
    if repeated:
        raise ValueError(
            f'{repeated[0]} is in several annotation files or twice in one of '
            f'{", ".join(file.name for file, _ in files)}. Name one with --annotations.'
        )
    message = 'annotations without a known image or category, or without a box. Skipped.'
    problems = problem_of('annotation-not-read', message, lost, is_warning=True)
    return LabeledSet(read_images, list(classes), problems + images.problems())


def _read_images(
    file: Path,
    content: AnnotationFile,
    names: dict[Any, str],
    split: str,
    images: ImageFiles,
    lost: list[str],
) -> list[LabeledImage]:
    boxes: dict[Any, list[LabeledBox]] = defaultdict(list)
    known = {each.get('id') for each in content.images if is_id(each.get('id'))}
    for number, record in enumerate(content.annotations):
        box = _read_box(record, names)
        if box is None or not is_id(record.get('image_id')) or record['image_id'] not in known:
            lost.append(f'{file.name}: {json.dumps(record.get("id", f"number {number}"))}')
        else:
            boxes[record['image_id']].append(box)
    result = []
    for record in content.images:
        if not is_text(record.get('file_name')) or not is_id(record.get('id')):
            raise ValueError(f'{file}: an image has no "id" or no "file_name": {record}.')
        path = images.find(file, record['file_name'])
        if path is not None:
            size = (record['width'], record['height']) if _has_size(record) else None
            result.append(LabeledImage(path, boxes[record['id']], split, size))
    return result


def _has_size(record: Record) -> bool:
    return all(isinstance(record.get(side), int) for side in ('width', 'height'))


def _read_box(record: Record, names: dict[Any, str]) -> LabeledBox | None:
    label = names.get(record['category_id']) if is_id(record.get('category_id')) else None
    segmentation: Segmentation | None = record.get('segmentation') or None
    box = record.get('bbox')
    if not is_box(box) and isinstance(segmentation, list):
        points = [xy for ring in segmentation for xy in zip(ring[::2], ring[1::2], strict=False)]
        box = outline_box(points)
    box = list(box or ())
    if label is None or not is_box(box):
        return None
    left, top, width, height = box
    return LabeledBox(
        label,
        (left, top, width, height),
        bool(record.get('iscrowd')),
        segmentation,
        record.get('area'),
    )

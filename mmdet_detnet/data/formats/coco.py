"""COCO: JSON files with lists of images, annotations and categories."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdet_detnet.arguments import is_number
from mmdet_detnet.data.annotation_rules import Record, is_box, is_flag, is_id, is_text
from mmdet_detnet.data.images import ImageFiles, name_split, show_progress
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    Found,
    LabeledBox,
    LabeledImage,
    LabeledSet,
    Segmentation,
    outline_box,
)

# What the annotations of a file are; an image in several files is read from the first kind.
BOXES, KEYPOINTS, NOT_BOXES, NOTHING = range(4)
MESSAGES = {
    'annotation-not-read': 'annotations without a known image or category, or without a box. '
    'Skipped.',
    'mask-not-read': 'annotations with a mask that is neither polygons nor run lengths. Their '
    'boxes are used.',
    'annotation-id-twice': 'annotation ids that occur more than once. All are read.',
    'category-name-twice': 'names of several categories. These become one class.',
    'file-not-read': 'files with keypoints, captions or panoptic masks of images that other files '
    'have boxes of, or without boxes at all. Skipped.',
    'image-not-labeled': 'images of files without any annotation, in no split. To detect in them: '
    'mmdet-detnet predict.',
}


def recognizes(content: object) -> bool:
    """Tell whether the content of a JSON file is in this format, perhaps without annotations."""
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        return False
    if content.keys() >= {'annotations', 'categories'}:
        return True
    has_names = any(isinstance(each, dict) and 'file_name' in each for each in content['images'])
    return has_names and bool(content.keys() & {'annotations', 'categories'})


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; ids need not agree between them."""
    found = images.found
    result: dict[Path, tuple[int, LabeledImage]] = {}
    classes: dict[str, None] = {}
    for file, content in sorted(files, key=lambda pair: _find_kind(*pair)):
        kind = _find_kind(file, content)
        if kind == NOTHING:
            paths = (images.find(file, _read_name(each, file)) for each in content['images'])
            found['image-not-labeled'] += [str(path) for path in paths if path not in result]
            continue
        names = _read_categories(file, content, found) if kind != NOT_BOXES else {}
        read_images = _read_images(file, content, names, images) if names else []
        read_images = _set_splits(read_images, file, options, len(files) == 1)
        new = [each for each in read_images if result.get(each.path, (kind,))[0] == kind]
        if not new:
            found['file-not-read'].append(file.name)
            continue
        for image in new:
            if image.path in result:
                other = result[image.path][1].source
                raise ValueError(
                    f'{image.path} is in several annotation files or twice in one: {other} and '
                    f'{file}. Name one with --annotations.'
                )
            result[image.path] = kind, image
        classes |= dict.fromkeys(names.values())
    return LabeledSet([image for _, image in result.values()], [*classes])


def _find_kind(file: Path, content: Record) -> int:
    annotations = content.get('annotations', [])
    if not isinstance(annotations, list) or not all(isinstance(x, dict) for x in annotations):
        raise ValueError(
            f'{file} has no list of objects "annotations", which COCO format requires.'
        )
    if not annotations:
        return NOTHING
    if not any('bbox' in each or 'segmentation' in each for each in annotations):
        return NOT_BOXES
    return KEYPOINTS if any('keypoints' in each for each in annotations) else BOXES


def _read_categories(file: Path, content: Record, found: Found) -> dict[Any, str]:
    categories = content.get('categories')
    if not isinstance(categories, list) or not all(isinstance(each, dict) for each in categories):
        raise ValueError(f'{file} has no list of objects "categories", which COCO format requires.')
    names: dict[Any, str] = {}
    for each in categories:
        if is_id(each.get('id')) and is_text(each.get('name')):
            if each['id'] in names:
                first = names[each['id']]
                raise ValueError(
                    f'{file}: the category id {each["id"]!r} is that of {first!r} and '
                    f'{each["name"]!r}.'
                )
            names[each['id']] = each['name']
    twice = [name for name, number in Counter(names.values()).items() if number > 1]
    found['category-name-twice'] += [f'{name} ({file.name})' for name in twice]
    return names


def _read_images(
    file: Path, content: Record, names: dict[Any, str], images: ImageFiles
) -> list[LabeledImage]:
    found = images.found
    file_names: dict[Any, str] = {}
    for record in content['images']:
        name = _read_name(record, file)
        if record['id'] in file_names:
            raise ValueError(
                f'{file}: the image id {record["id"]!r} is that of {file_names[record["id"]]} and '
                f'{name}, so that their annotations cannot be told apart.'
            )
        file_names[record['id']] = name
    boxes: dict[Any, list[LabeledBox]] = defaultdict(list)
    ids = Counter(each['id'] for each in content['annotations'] if is_id(each.get('id')))
    found['annotation-id-twice'] += [f'{file.name}: {i!r}' for i, n in ids.items() if n > 1]
    for number, record in enumerate(content['annotations']):
        box = _read_box(record, names, file, number, found)
        if box is None or not is_id(record.get('image_id')) or record['image_id'] not in file_names:
            found['annotation-not-read'].append(_place(record, file, number))
        else:
            boxes[record['image_id']].append(box)
    result = []
    for record in show_progress(content['images'], desc=file.name, unit='image'):
        path = images.find(file, record['file_name'])
        if path is not None:
            split = images.name_split(path)
            size = (record.get('width'), record.get('height'))
            has_size = all(isinstance(side, int) for side in size)
            own = boxes.get(record['id'], [])
            result.append(LabeledImage(path, own, file, split, size if has_size else None))
    return result


def _set_splits(
    images: list[LabeledImage], file: Path, options: Options, is_only_file: bool
) -> list[LabeledImage]:
    """Let the name of a file or of its folder decide, unless the images are in several splits."""
    of_name = name_split(Path(file.name))
    are_divided = len({image.split for image in images} - {''}) > 1
    if are_divided and (is_only_file or not of_name):
        return images
    is_inside = file.is_relative_to(options.folder)
    of_folder = name_split(file.relative_to(options.folder).parent) if is_inside else ''
    split = of_name or of_folder
    return [replace(image, split=split) for image in images] if split else images


def _read_name(record: Any, file: Path) -> str:
    is_record = isinstance(record, dict) and is_id(record.get('id'))
    if not is_record or not is_text(record.get('file_name')):
        raise ValueError(f'{file}: an image has no "id" or no "file_name": {record}.')
    return record['file_name']


def _place(record: Record, file: Path, number: int) -> str:
    return f'{file.name}: {record.get("id", f"number {number}")!r}'


def _read_box(
    record: Record, names: dict[Any, str], file: Path, number: int, found: Found
) -> LabeledBox | None:
    if not is_flag(record.get('iscrowd', 0)):
        place = _place(record, file, number)
        raise ValueError(f'{place}: "iscrowd" must be 0 or 1, got {record["iscrowd"]!r}.')
    label = names.get(record['category_id']) if is_id(record.get('category_id')) else None
    mask, is_wrong = _read_mask(record.get('segmentation'))
    if is_wrong:
        found['mask-not-read'].append(_place(record, file, number))
    box = record.get('bbox')
    if not is_box(box):
        rings = mask if isinstance(mask, list) else []
        points = [xy for ring in rings for xy in zip(ring[::2], ring[1::2], strict=True)]
        box = outline_box(points) if points else None
    if label is None or box is None:
        return None
    area = record.get('area')
    area = area if is_number(area) else None
    return LabeledBox(label, tuple(box), bool(record.get('iscrowd')), mask, area)


def _read_mask(value: Any) -> tuple[Segmentation | None, bool]:
    """Read a mask, and tell whether it is wrong; an empty one is none."""
    if not value or value == [[]]:
        return None, False
    if isinstance(value, dict):
        is_mask = isinstance(value.get('counts'), str | list) and is_ring(value.get('size'), 2)
        return (value, False) if is_mask else (None, True)
    # At least three points.
    is_mask = isinstance(value, list) and all(is_ring(ring, 6) for ring in value)
    return (value, False) if is_mask else (None, True)


def is_ring(value: Any, length: int) -> bool:
    """Tell whether a value is an even number of numbers, at least ``length``."""
    is_list = isinstance(value, list) and len(value) >= length and len(value) % 2 == 0
    return is_list and all(map(is_number, value))

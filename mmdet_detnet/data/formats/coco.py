"""COCO: JSON files with lists of images, annotations and categories."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycocotools import mask as masks

from mmdet_detnet.arguments import is_number
from mmdet_detnet.data import annotation_rules as rules
from mmdet_detnet.data.annotation_rules import Record
from mmdet_detnet.data.images import ImageFiles, name_split, show_progress
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    LabeledBox,
    LabeledImage,
    LabeledSet,
    Problems,
    enclose_rotated,
    known_size,
    outline_box,
)

# What the annotations of a file are; an image in several files is read from the first kind.
BOXES, KEYPOINTS, NOT_BOXES, NOTHING = range(4)


def recognizes(content: Any, images: ImageFiles) -> bool:
    """Return whether the content of a JSON file is in this format, perhaps without annotations."""
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        return False
    if content.keys() >= {'annotations', 'categories'}:
        return True
    has_names = any(isinstance(each, dict) and 'file_name' in each for each in content['images'])
    return has_names and bool(content.keys() & {'annotations', 'categories'})


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; ids need not agree between them."""
    result: list[LabeledImage] = []
    kind_of: dict[Path, int] = {}
    classes: dict[str, None] = {}
    kinds = {file: _find_kind(file, content) for file, content in files}
    with_names = [(file, content) for file, content in files if kinds[file] != NOT_BOXES]
    images.claim((file, _read_name(x, file)) for file, each in with_names for x in each['images'])
    for file, content in sorted(files, key=lambda pair: kinds[pair[0]]):
        kind = kinds[file]
        if kind == NOTHING:
            paths = (images.find(file, _read_name(each, file)) for each in content['images'])
            text = 'image-not-labeled: images of files without any annotation. In no split.'
            images.problems.warn(text, *(each for each in paths if each and each not in kind_of))
            continue
        found = []
        if kind != NOT_BOXES:
            names = _read_categories(file, content, images.problems)
            found = _read_images(file, content, names, images)
            found = _set_splits(found, file, images, len(files) == 1)
        new = [each for each in found if kind_of.get(each.path, kind) == kind]
        if kind == NOT_BOXES or len(new) < len(found):
            text = 'files without boxes, or of images that have boxes in another file. Skipped.'
            images.problems.warn(f'file-not-read: {text}', file.name)
        if new:
            result += new
            kind_of |= {image.path: kind for image in new}
            classes |= dict.fromkeys(names.values())
    return LabeledSet(result, [*classes])


def _find_kind(file: Path, content: Record) -> int:
    annotations = rules.require_records(file, {'annotations': [], **content}, 'annotations')
    if not annotations:
        return NOTHING
    if not any('bbox' in each or 'segmentation' in each for each in annotations):
        return NOT_BOXES
    return KEYPOINTS if any('keypoints' in each for each in annotations) else BOXES


def _read_categories(file: Path, content: Record, problems: Problems) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for each in rules.require_records(file, content, 'categories'):
        if rules.is_id(each.get('id')) and rules.is_text(each.get('name')):
            if each['id'] in names:
                raise ValueError(
                    f'{file}: the category id {each["id"]!r} is that of {names[each["id"]]!r} and '
                    f'{each["name"]!r}.'
                )
            names[each['id']] = each['name']
    if not names:
        raise ValueError(f'{file}: no category has an "id" and a "name".')
    counts = Counter(names.values())
    text = 'category-name-twice: names of several categories. These become one class.'
    problems.warn(text, *(f'{name} ({file.name})' for name in counts if counts[name] > 1))
    return names


def _read_images(
    file: Path, content: Record, names: dict[Any, str], images: ImageFiles
) -> list[LabeledImage]:
    problems = images.problems
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
    of_whole_images = []  # as camera traps have them
    for number, record in enumerate(content['annotations']):
        box = _read_box(record, names, file, number, problems)
        has_image = rules.is_id(record.get('image_id')) and record['image_id'] in file_names
        if has_image and not record.keys() & {'bbox', 'segmentation'}:
            category = record.get('category_id')
            label = names.get(category) if rules.is_id(category) else None
            of_whole_images.append((record['image_id'], label))
        if box is None or not has_image:
            text = 'annotations without a known image or category, or without a box. Skipped.'
            problems.warn(f'annotation-not-read: {text}', _place(record, file, number))
        else:
            boxes[record['image_id']].append(box)
    with_boxes = {box.label for of_image in boxes.values() for box in of_image}
    left_out = {key for key, label in of_whole_images if label in with_boxes} - boxes.keys()
    result = []
    for record in show_progress(content['images'], desc=file.name, unit='image'):
        path = images.find(file, file_names[record['id']])
        if record['id'] in left_out:
            text = 'images of a class that has boxes in others. Skipped: they are no background.'
            problems.warn(f'image-without-its-box: {text}', file_names[record['id']])
        elif path is not None:
            split = images.name_split(path)
            size = known_size(record.get('width'), record.get('height'))
            result.append(LabeledImage(path, boxes.get(record['id'], []), file, split, size))
    return result


def _set_splits(
    found: list[LabeledImage], file: Path, images: ImageFiles, is_only_file: bool
) -> list[LabeledImage]:
    """Let the name of a file or of its folder decide, unless the images are in several splits."""
    of_name = name_split(file.name)
    are_divided = len({image.split for image in found} - {''}) > 1
    if are_divided and (is_only_file or not of_name):
        return found
    split = of_name or images.name_split(file)
    return [replace(image, split=split) for image in found] if split else found


def _read_name(record: Any, file: Path) -> str:
    is_record = isinstance(record, dict) and rules.is_id(record.get('id'))
    # LVIS only has addresses.
    name: Any = (record.get('file_name') or record.get('coco_url')) if is_record else None
    if not rules.is_text(name):
        raise ValueError(f'{file}: an image has no "id" or no "file_name": {record}.')
    return name


def _place(record: Record, file: Path, number: int) -> str:
    return f'{file.name}: {record.get("id", f"number {number}")!r}'


def _read_box(
    record: Record, names: Mapping[Any, str], file: Path, number: int, problems: Problems
) -> LabeledBox | None:
    if not rules.is_flag(record.get('iscrowd', 0)):
        place = _place(record, file, number)
        raise ValueError(f'{place}: "iscrowd" must be 0 or 1, got {record["iscrowd"]!r}.')
    label = names.get(record['category_id']) if rules.is_id(record.get('category_id')) else None
    mask = record.get('segmentation')
    # An empty mask is none.
    if not mask or mask == [[]]:
        mask = None
    elif not _is_mask(mask):
        text = 'mask-not-read: masks that are neither polygons nor run lengths. Boxes are used.'
        problems.warn(text, _place(record, file, number))
        mask = None
    box = record.get('bbox')
    if not rules.is_box(box):
        box = _enclose(mask) if mask else None
    if label is None or box is None:
        return None
    area = record['area'] if is_number(record.get('area')) and record['area'] > 0 else None
    is_crowd = bool(record.get('iscrowd') or record.get('ignore'))
    attributes = record.get('attributes')
    # A polygon is already rotated.
    if mask is None and isinstance(attributes, dict) and attributes.get('rotation'):
        place = _place(record, file, number)
        box = enclose_rotated(tuple(box), attributes['rotation'], place, problems)
    return LabeledBox(label, tuple(box), is_crowd, mask, area)


def _enclose(mask: Any) -> Sequence[float] | None:
    """Compute the box of polygons or run lengths; None if the latter are damaged or empty."""
    if isinstance(mask, list):
        return outline_box([xy for ring in mask for xy in zip(ring[::2], ring[1::2], strict=True)])
    try:
        is_packed = isinstance(mask['counts'], str)
        box = masks.toBbox(mask if is_packed else masks.frPyObjects(mask, *mask['size'])).tolist()
    except (OverflowError, TypeError, ValueError):
        return None
    return box if rules.is_box(box) and box[2] > 0 else None


def _is_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get('counts'), str | list) and _is_ring(value.get('size'), 2)
    # At least three points.
    return isinstance(value, list) and all(_is_ring(ring, 6) for ring in value)


def _is_ring(value: Any, length: int) -> bool:
    """Return whether a value is an even number of numbers, at least ``length``."""
    is_list = isinstance(value, list) and len(value) >= length and len(value) % 2 == 0
    return is_list and all(map(is_number, value))

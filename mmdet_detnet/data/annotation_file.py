"""Read a COCO annotation file, and check its records and the references between them."""

import reprlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet_detnet.arguments import is_number
from mmdet_detnet.files import read_json

from .problems import Problem, problem_of

Record = dict[str, Any]
LISTS = ('images', 'annotations', 'categories')
# Limits of OpenCV.
MAX_SIDE, MAX_PIXELS = 2**20, 2**30


@dataclass(frozen=True)
class AnnotationFile:
    """The three lists of a COCO annotation file.

    Attributes:
        images: Records with ``id``, ``file_name``, ``width`` and ``height``.
        annotations: Records with ``id``, ``image_id``, ``category_id``, ``bbox`` (left, top,
            width and height in pixels), ``area`` and ``iscrowd``.
        categories: Records with ``id`` and ``name``.
    """

    images: list[Record]
    annotations: list[Record]
    categories: list[Record]


def read_annotation_file(path: Path) -> AnnotationFile:
    """Read the lists of a file without checking their records.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not JSON, or lacks one of the lists.
    """
    return select_lists(read_json(path), path)


def select_lists(content: object, path: Path) -> AnnotationFile:
    """Select the lists of an annotation file, without checking their records.

    Args:
        content: Content of the file.
        path: Its path, for messages.

    Raises:
        ValueError: If one of the lists is missing.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} must contain an object with the lists {", ".join(LISTS)}, '
            f'but it contains a {type(content).__name__}.'
        )
    for name in LISTS:
        records = content.get(name)
        if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
            raise ValueError(f'{path} has no list of objects "{name}", which COCO format requires.')
    return AnnotationFile(**{name: content[name] for name in LISTS})


def is_id(value: object) -> bool:
    """Tell whether a value can identify a record."""
    return isinstance(value, str) or (is_number(value) and value == int(value))


def is_text(value: object) -> bool:
    """Tell whether a value is a non-empty string."""
    return isinstance(value, str) and value != ''


def is_length(value: object) -> bool:
    """Tell whether a value can be the width or height of an image, in pixels."""
    return is_number(value) and 1 <= value <= MAX_SIDE


def is_box(value: object) -> bool:
    """Tell whether a value is four numbers in the range of pixels."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        return False
    return max(map(abs, value)) <= MAX_SIDE


def is_flag(value: object) -> bool:
    """Tell whether a value is 0, 1, false or true."""
    return isinstance(value, (int, float)) and value in (0, 1)


FIELDS: dict[str, dict[str, Callable[[object], bool]]] = {
    'images': {'id': is_id, 'file_name': is_text, 'width': is_length, 'height': is_length},
    'annotations': {
        'id': is_id,
        'image_id': is_id,
        'category_id': is_id,
        'bbox': is_box,
        'area': is_number,
        'iscrowd': is_flag,
    },
    'categories': {'id': is_id, 'name': is_text},
}
# What happens without a field, where the record can still be checked.
CONSEQUENCES = {
    'area': 'CocoDataset stops with a KeyError. Width times height is used below.',
    'iscrowd': 'COCO evaluation stops with a KeyError. 0 is used below.',
}
OTHER_CONSEQUENCE = 'Training stops or goes wrong. Skipped in all further checks.'


def check_fields(file: AnnotationFile) -> tuple[AnnotationFile, list[Problem]]:
    """Find missing and wrong fields, and references to records that are not there.

    Args:
        file: The lists as in the file.

    Returns:
        The records that other checks can use, with ``area`` and ``iscrowd`` filled in, and
        problems.
    """
    usable, problems = {}, []
    for name, fields in FIELDS.items():
        records = getattr(file, name)
        for field, is_valid in fields.items():
            problems += _check_field(name, records, field, is_valid)
        usable[name] = [_fill_in(each) for each in records if _is_usable(each, fields)]
    large = [each for each in usable['images'] if each['width'] * each['height'] > MAX_PIXELS]
    usable['images'] = [each for each in usable['images'] if each not in large]
    problems += problem_of(
        'bad-size',
        f'images of more than {MAX_PIXELS} pixels, which OpenCV cannot read. {OTHER_CONSEQUENCE}',
        [f'{each["file_name"]} ({each["width"]} x {each["height"]})' for each in large],
    )
    selected = AnnotationFile(**usable)
    return selected, problems + _find_duplicates(selected) + _find_lost(selected, file)


def _check_field(
    name: str, records: list[Record], field: str, is_valid: Callable[[object], bool]
) -> list[Problem]:
    missing, bad = [], []
    for index, record in enumerate(records):
        if field in record and is_valid(record[field]):
            continue
        culprit = record.get('file_name') or record.get('id', f'{name}[{index}]')
        culprit = culprit if isinstance(culprit, str) else reprlib.repr(culprit)
        if field in record:
            bad.append(f'{culprit} ({reprlib.repr(record[field])})')
        else:
            missing.append(culprit)
    consequence = CONSEQUENCES.get(field, OTHER_CONSEQUENCE)
    return [
        *problem_of(f'missing-{field}', f'{name} without "{field}". {consequence}', missing),
        *problem_of(f'bad-{field}', f'{name} with a wrong "{field}". {OTHER_CONSEQUENCE}', bad),
    ]


def _is_usable(record: Record, fields: dict[str, Callable[[object], bool]]) -> bool:
    return all(
        is_valid(record[field]) if field in record else field in CONSEQUENCES
        for field, is_valid in fields.items()
    )


def _fill_in(record: Record) -> Record:
    if 'bbox' not in record:
        return record
    _, _, width, height = record['bbox']
    return {'area': width * height, 'iscrowd': 0, **record}


def _find_duplicates(file: AnnotationFile) -> list[Problem]:
    def repeated(records: list[Record], field: str) -> list[object]:
        counts = Counter(record[field] for record in records)
        return [value for value, count in counts.items() if count > 1]

    return [
        *problem_of(
            'duplicate-image-id',
            'duplicate image ids. Only the last image is used, with the boxes of all.',
            repeated(file.images, 'id'),
        ),
        *problem_of(
            'duplicate-annotation-id',
            'duplicate annotation ids. CocoDataset stops with an AssertionError.',
            repeated(file.annotations, 'id'),
        ),
        *problem_of(
            'duplicate-category-id',
            'duplicate category ids. Their boxes get the same label.',
            repeated(file.categories, 'id'),
        ),
        *problem_of(
            'duplicate-category-name',
            'duplicate category names. CocoDataset creates more labels than classes.',
            repeated(file.categories, 'name'),
        ),
        *problem_of(
            'duplicate-file-name',
            'image files that are listed more than once.',
            repeated(file.images, 'file_name'),
            is_warning=True,
        ),
    ]


def _find_lost(file: AnnotationFile, whole_file: AnnotationFile) -> list[Problem]:
    """Find annotations of records that even the whole file does not include."""

    def lost(field: str, records: Iterable[Record]) -> list[object]:
        known = {record['id'] for record in records if is_id(record.get('id'))}
        return [each['id'] for each in file.annotations if each[field] not in known]

    return [
        *problem_of(
            'unknown-image',
            'annotations whose image_id is not in the file. CocoDataset drops them.',
            lost('image_id', whole_file.images),
        ),
        *problem_of(
            'unknown-category',
            'annotations whose category_id is not in the file. CocoDataset drops them.',
            lost('category_id', whole_file.categories),
        ),
        *problem_of(
            'annotation-id-0',
            'an annotation has the id 0. COCO evaluation always counts its box as missed.',
            [each['id'] for each in file.annotations if each['id'] == 0],
            is_warning=True,
        ),
    ]

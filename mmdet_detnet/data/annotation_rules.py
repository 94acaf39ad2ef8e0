"""The rules for a COCO annotation file: wrong records, and what mmdet's CocoDataset keeps of them.

Each rule is a call of ``problem_of``: its name, what it means, and the records that break it.
"""

import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_detnet.arguments import is_number
from mmdet_detnet.files import read_json

from .records import Problem, problem_of

Record = dict[str, Any]
LISTS = ('images', 'annotations', 'categories')
# Limits of OpenCV.
MAX_SIDE, MAX_PIXELS = 2**20, 2**30
NUMBERS = {int, float}
# Tolerance at the image border for rounding, in pixels.
EDGE_TOLERANCE = 0.5
# Minimum fractions at which the last two numbers of boxes are considered corners.
OVER_EDGE_SHARE, CORNER_SHARE = 0.2, 0.95
# COCO's bounds of small and medium areas, in square pixels of the original image.
MEDIUM_AREA, LARGE_AREA = 32**2, 96**2
SIZE_BINS = ('small', 'medium', 'large')
# Why CocoDataset drops an annotation, besides its category.
IGNORED = 'ignored-annotation'
DROPPED_BOXES = {
    'degenerate-box': 'boxes less than 1 pixel wide or high. CocoDataset drops them.',
    'area-not-positive': 'annotations without a positive area. CocoDataset drops them.',
    'box-outside-image': 'boxes outside their image. CocoDataset drops them.',
}


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
    """Read the lists of a file without checking their records; raise ValueError without them."""
    content = read_json(path)
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
    if not isinstance(value, list) or len(value) != 4 or not NUMBERS.issuperset(map(type, value)):
        return False
    return all(-MAX_SIDE <= number <= MAX_SIDE for number in value)


def is_flag(value: object) -> bool:
    """Tell whether a value is 0, 1, false or true."""
    return isinstance(value, (int, float)) and value in (0, 1)


Fields = dict[str, Callable[[object], bool]]
FIELDS: dict[str, Fields] = {
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

    Returns:
        The usable records, with ``area`` and ``iscrowd`` filled in, and problems.
    """
    usable, problems = {}, []
    for name, fields in FIELDS.items():
        usable[name], of_list = _check_records(name, getattr(file, name), fields)
        problems += of_list
    large = [each for each in usable['images'] if each['width'] * each['height'] > MAX_PIXELS]
    if large:
        is_large = {*map(id, large)}
        usable['images'] = [each for each in usable['images'] if id(each) not in is_large]
    problems += problem_of(
        'bad-size',
        f'images of more than {MAX_PIXELS} pixels, which OpenCV cannot read. {OTHER_CONSEQUENCE}',
        [f'{each["file_name"]} ({each["width"]} x {each["height"]})' for each in large],
    )
    selected = AnnotationFile(**usable)
    return selected, problems + _check_ids(selected, file)


def _check_records(
    name: str, records: Sequence[Record], fields: Fields
) -> tuple[list[Record], list[Problem]]:
    problems: list[Problem] = []
    unusable: set[int] = set()
    incomplete: set[int] = set()
    for key, is_valid in fields.items():
        missing, bad = [], []
        for index in [n for n, each in enumerate(records) if not is_valid(each.get(key))]:
            record = records[index]
            culprit = record.get('file_name') or record.get('id', f'{name}[{index}]')
            culprit = culprit if isinstance(culprit, str) else reprlib.repr(culprit)
            if key in record:
                bad.append(f'{culprit} ({reprlib.repr(record[key])})')
            else:
                missing.append(culprit)
            can_be_used = key in CONSEQUENCES and key not in record
            (incomplete if can_be_used else unusable).add(index)
        text = f'{name} without "{key}". {CONSEQUENCES.get(key, OTHER_CONSEQUENCE)}'
        problems += problem_of(f'missing-{key}', text, missing)
        text = f'{name} with a wrong "{key}". {OTHER_CONSEQUENCE}'
        problems += problem_of(f'bad-{key}', text, bad)
    usable = [
        _fill_in(record) if index in incomplete else record
        for index, record in enumerate(records)
        if index not in unusable
    ]
    return usable, problems


def _fill_in(record: Record) -> Record:
    _, _, width, height = record['bbox']
    return {'area': width * height, 'iscrowd': 0, **record}


UNIQUE = {
    ('images', 'id'): 'image ids. Only the last image is used, with the boxes of all.',
    ('annotations', 'id'): 'annotation ids. CocoDataset stops with an AssertionError.',
    ('categories', 'id'): 'category ids. Their boxes get the same label.',
    ('categories', 'name'): 'category names. CocoDataset creates more labels than classes.',
}


def _check_ids(file: AnnotationFile, whole_file: AnnotationFile) -> list[Problem]:
    """Find ids that are not unique, and annotations of records that the whole file lacks."""

    def repeated(records: list[Record], field: str) -> list[object]:
        counts = Counter(record[field] for record in records)
        return [value for value, count in counts.items() if count > 1]

    def lost(field: str, records: Iterable[Record]) -> list[object]:
        known = {record['id'] for record in records if is_id(record.get('id'))}
        return [each['id'] for each in file.annotations if each[field] not in known]

    problems = []
    for (name, field), message in UNIQUE.items():
        kind = message.partition(' ')[0]
        culprits = repeated(getattr(file, name), field)
        problems += problem_of(f'duplicate-{kind}-{field}', f'duplicate {message}', culprits)
    return [
        *problems,
        *problem_of(
            'duplicate-file-name',
            'image files that are listed more than once.',
            repeated(file.images, 'file_name'),
            is_warning=True,
        ),
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


@dataclass(frozen=True)
class Boxes:
    """Annotations whose image is in the file.

    Attributes:
        records: The annotations.
        image_sizes: Width and height of the image of each, ``(N, 2)``, in pixels.
        boxes: Left, top, width and height, ``(N, 4)``, in pixels.
        areas: ``(N,)``, as in the file, in square pixels.
    """

    records: list[Record]
    image_sizes: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    @classmethod
    def of_file(cls, file: AnnotationFile) -> 'Boxes':
        """Select them from usable records, in file order."""
        # Of images with the same id, CocoDataset uses the last.
        sizes = {each['id']: (each['width'], each['height']) for each in file.images}
        records = [each for each in file.annotations if each['image_id'] in sizes]
        of_images = np.array([sizes[each['image_id']] for each in records], float).reshape(-1, 2)
        boxes = np.array([each['bbox'] for each in records], float).reshape(-1, 4)
        return cls(records, of_images, boxes, np.array([each['area'] for each in records], float))

    def select(self, mask: np.ndarray) -> 'Boxes':
        """Select by a mask ``(N,)``."""
        records = [self.records[index] for index in np.flatnonzero(mask)]
        return Boxes(records, self.image_sizes[mask], self.boxes[mask], self.areas[mask])

    def drop_reasons(self) -> np.ndarray:
        """Say why CocoDataset drops each, by the rules of ``CocoDataset.parse_data_info``.

        Returns:
            For each annotation ``IGNORED``, a key of ``DROPPED_BOXES``, or nothing if it is kept.
        """
        start, sides = self.boxes[:, :2], self.boxes[:, 2:]
        inside = np.minimum(start + sides, self.image_sizes) - np.maximum(start, 0)
        conditions = [
            np.array([bool(each.get('ignore')) for each in self.records], bool),
            (sides < 1).any(axis=1),
            self.areas <= 0,
            (inside <= 0).any(axis=1),
        ]
        return np.select(conditions, [IGNORED, *DROPPED_BOXES], '')

    def ids(self, mask: np.ndarray) -> list[object]:
        """List the ids by a mask ``(N,)``."""
        return [self.records[index]['id'] for index in np.flatnonzero(mask)]


def check_boxes(boxes: Boxes, num_boxes: int) -> list[Problem]:
    """Find boxes that CocoDataset drops or that cross the border, of ``num_boxes`` in the file."""
    reasons = boxes.drop_reasons()
    start, last = boxes.boxes[:, :2], boxes.boxes[:, 2:]
    over_edge = (start < -EDGE_TOLERANCE) | (start + last - boxes.image_sizes > EDGE_TOLERANCE)
    over_edge = over_edge.any(axis=1) & (reasons == '')
    could_be_corners = (start < last) & (last <= boxes.image_sizes + EDGE_TOLERANCE)
    are_corners = (
        over_edge.sum() >= OVER_EDGE_SHARE * num_boxes
        and could_be_corners.all(axis=1).sum() >= CORNER_SHARE * num_boxes
    )
    return [
        *problem_of(
            'corners-as-size',
            'boxes cross the border of their image, and nearly all would fit as corners: COCO uses '
            '[left, top, width, height], not [left, top, right, bottom].',
            boxes.ids(over_edge & are_corners),
        ),
        *(
            problem
            for reason, message in DROPPED_BOXES.items()
            for problem in problem_of(reason, message, boxes.ids(reasons == reason))
        ),
        *problem_of(
            IGNORED,
            'annotations with "ignore". CocoDataset drops them; their objects become background.',
            boxes.ids(reasons == IGNORED),
            is_warning=True,
        ),
        *problem_of(
            'box-over-edge',
            'boxes that cross the border of their image.',
            boxes.ids(over_edge),
            is_warning=True,
        ),
    ]


@dataclass(frozen=True)
class Kept:
    """Records that CocoDataset trains on.

    Attributes:
        categories: Categories with a label, in the order of the labels.
        boxes: Their boxes, including crowds.
        images: The images.
    """

    categories: list[Record]
    boxes: Boxes
    images: list[Record]


def select_kept(
    file: AnnotationFile, boxes: Boxes, classes: Collection[str] | None, filter_cfg: dict[str, Any]
) -> Kept:
    """Select the records that CocoDataset trains on, in file order.

    Args:
        file: Usable records.
        boxes: All boxes of it.
        classes: Class names; None for all categories.
        filter_cfg: Option of the dataset: ``filter_empty_gt`` drops images without annotations of
            these classes, ``min_size`` those with a shorter side, in pixels.
    """
    categories = [each for each in file.categories if classes is None or each['name'] in classes]
    category_ids = {category['id'] for category in categories}
    is_trained = np.array([each['category_id'] in category_ids for each in boxes.records], bool)
    # As in ``CocoDataset.filter_data``, dropped annotations count, too.
    annotated = {
        each['image_id'] for each in file.annotations if each['category_id'] in category_ids
    }
    empty_too = not filter_cfg.get('filter_empty_gt', False)
    min_size = filter_cfg.get('min_size', 0)
    images = [
        image
        for image in {image['id']: image for image in file.images}.values()
        if (empty_too or image['id'] in annotated)
        and min(image['width'], image['height']) >= min_size
    ]
    return Kept(categories, boxes.select(is_trained & (boxes.drop_reasons() == '')), images)


def count_boxes(file: AnnotationFile, kept: Kept) -> list[dict[str, Any]]:
    """Count the boxes of each category: in the file, kept, and of these crowds and sizes."""
    in_file = Counter(annotation['category_id'] for annotation in file.annotations)
    rows = {each['id']: Counter[str]() for each in kept.categories}
    bins = np.searchsorted((MEDIUM_AREA, LARGE_AREA), kept.boxes.areas, side='right')
    for record, number in zip(kept.boxes.records, bins.tolist(), strict=True):
        row = rows[record['category_id']]
        row['kept'] += 1
        row['crowd'] += bool(record['iscrowd'])
        row[SIZE_BINS[number]] += 1
    return [
        {
            'class': category['name'],
            'in file': in_file[category['id']],
            **{name: rows[category['id']][name] for name in ('kept', 'crowd', *SIZE_BINS)},
        }
        for category in kept.categories
    ]


def check_kept(file: AnnotationFile, kept: Kept) -> list[Problem]:
    """Find classes and images of which CocoDataset keeps no box."""
    records = kept.boxes.records
    if not records:
        images = [f'{len(file.images)} images']
        return problem_of('no-boxes', 'CocoDataset keeps no boxes.', images)
    if all(annotation['iscrowd'] for annotation in records):
        crowds = [f'{len(records)} boxes']
        return problem_of('only-crowds', 'all boxes are crowds, which are not trained on.', crowds)
    classes_with_boxes = {annotation['category_id'] for annotation in records}
    images_with_boxes = {annotation['image_id'] for annotation in records}
    kept_ids = {image['id'] for image in kept.images}
    return [
        *problem_of(
            'class-without-boxes',
            'classes of which no box is kept.',
            [each['name'] for each in kept.categories if each['id'] not in classes_with_boxes],
            is_warning=True,
        ),
        *problem_of(
            'image-without-boxes',
            'images of which no box is kept. They are used as background.',
            [each['file_name'] for each in kept.images if each['id'] not in images_with_boxes],
            is_warning=True,
        ),
        *problem_of(
            'image-left-out',
            "images that the config's filter_cfg drops: without annotations, or too small.",
            [each['file_name'] for each in file.images if each['id'] not in kept_ids],
            is_warning=True,
        ),
    ]


def check_classes(
    file: AnnotationFile, classes: Sequence[str], allow_subset: bool = False
) -> list[Problem]:
    """Compare the category names with the classes of the detector, and their order.

    CocoDataset finds categories by name, but numbers them in file order. If a class is missing from
    the file or the order differs, labels get other names than in the config.
    """
    names = [category['name'] for category in file.categories]
    of_config = [name for name in classes if name in names]
    of_file = list(dict.fromkeys(name for name in names if name in classes))
    num_boxes = Counter(annotation['category_id'] for annotation in file.annotations)
    left_out = [category for category in file.categories if category['name'] not in classes]
    return [
        *problem_of(
            'class-not-in-file',
            'classes that are not in the file. They get no boxes, and the labels of the '
            'following classes are shifted.',
            [_with_similar_name(name, names) for name in classes if name not in names],
        ),
        *problem_of(
            'category-not-in-classes',
            'categories that are not in the config. CocoDataset drops their boxes.',
            [
                f'{each["name"]!r} ({num_boxes[each["id"]]} boxes)'
                for each in left_out
                if num_boxes[each['id']]
            ],
            is_warning=allow_subset,
        ),
        *problem_of(
            'unused-category',
            'categories without boxes that are not in the config.',
            [repr(each['name']) for each in left_out if not num_boxes[each['id']]],
            is_warning=True,
        ),
        *problem_of(
            'class-order',
            'the classes have different orders in config and file. Labels follow the file: '
            'detections get the names of other classes.',
            [f'config {of_config}, file {of_file}'] if of_config != of_file else [],
        ),
    ]


def _with_similar_name(name: str, names: Sequence[str]) -> str:
    by_lower_case = {each.lower(): each for each in names}
    similar = get_close_matches(name.lower(), by_lower_case, n=1)
    hint = f' (the file has {by_lower_case[similar[0]]!r})' if similar else ''
    return repr(name) + hint

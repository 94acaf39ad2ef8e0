"""The rules for a COCO annotation file: wrong records, and what mmdet's CocoDataset keeps of them.

Each rule is a call of ``problems.add`` or ``warn``: its name and meaning, and what breaks it.
"""

import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet_detnet.arguments import is_number
from mmdet_detnet.files import read_json

from .records import Problems
from .training_config import Anchors, Rescale

Record = dict[str, Any]
# The lists of a file: images, annotations and categories.
Content = dict[str, list[Record]]
# Limits of OpenCV.
MAX_SIDE, MAX_PIXELS = 2**20, 2**30
# Of a narrower image, no pixel of the short side is left when the long one becomes 320.
MAX_PROPORTION = 640
NUMBERS = {int, float}
# Tolerance at the image border for rounding, in pixels.
EDGE_TOLERANCE = 0.5
# Minimum fractions at which the last two numbers of boxes are considered corners.
OVER_EDGE_SHARE, CORNER_SHARE = 0.2, 0.95
# Minimum fraction of the boxes that should be in the range of the anchors.
ENOUGH_INSIDE = 0.5
# COCO's bounds of small and medium areas, in square pixels of the original image.
MEDIUM_AREA, LARGE_AREA = 32**2, 96**2
SIZE_BINS = ('small', 'medium', 'large')
# Why CocoDataset drops an annotation, besides its category.
IGNORED = 'ignored-annotation'
DROPPED_BOXES = {
    'degenerate-box': 'boxes less than 1 pixel wide or high',
    'area-not-positive': 'annotations without a positive area',
    'box-outside-image': 'boxes outside their image',
}


def read_annotation_file(path: Path) -> Content:
    """Read the lists of a file without checking their records; raise ValueError without them."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} must contain an object with the lists {", ".join(FIELDS)}, '
            f'but it contains a {type(content).__name__}.'
        )
    for name in FIELDS:
        require_records(path, content, name)
    return content


def require_records(path: Path, content: Record, name: str) -> list[Record]:
    """Take a list of records of a file; raise ValueError if it is anything else."""
    records = content.get(name)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ValueError(f'{path} has no list of objects "{name}", which COCO format requires.')
    return records


def is_id(value: object) -> bool:
    """Return whether a value can identify a record."""
    return isinstance(value, str) or (is_number(value) and value == int(value))


def is_text(value: object) -> bool:
    """Return whether a value is a non-empty string."""
    return isinstance(value, str) and value != ''


def is_length(value: object) -> bool:
    """Return whether a value can be the width or height of an image, in pixels."""
    return is_number(value) and 1 <= value <= MAX_SIDE


def is_box(value: object) -> bool:
    """Return whether a value is four numbers in the range of pixels."""
    if not isinstance(value, list) or len(value) != 4 or not NUMBERS.issuperset(map(type, value)):
        return False
    return all(-MAX_SIDE <= number <= MAX_SIDE for number in value)


def is_flag(value: object) -> bool:
    """Return whether a value is 0, 1, false or true."""
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
SKIPPED = 'Training stops or goes wrong. Skipped in all further checks.'
UNIQUE = (
    ('images', 'id', 'image-id: image ids. Only the last image is used, with the boxes of all.'),
    ('annotations', 'id', 'annotation-id: annotation ids. CocoDataset stops with an error.'),
    ('categories', 'id', 'category-id: category ids. Their boxes get the same label.'),
    ('categories', 'name', 'category-name: names. CocoDataset makes more labels than classes.'),
    ('images', 'file_name', 'file-name: image files that are listed more than once.'),
)


def check_fields(content: Content, problems: Problems) -> Content:
    """Find missing and wrong fields, and references to records that are not there.

    Returns:
        The usable records, with ``area`` and ``iscrowd`` filled in.
    """
    usable = {name: [*_select_usable(name, content[name], problems)] for name in FIELDS}
    for name, field, text in UNIQUE:
        counts = Counter(record[field] for record in usable[name])
        repeated = [value for value, count in counts.items() if count > 1]
        problems.add(f'duplicate-{text}', repeated, is_warning=field == 'file_name')
    for kind, name in (('image', 'images'), ('category', 'categories')):
        known = {each['id'] for each in content[name] if is_id(each.get('id'))}
        ids = [each['id'] for each in usable['annotations'] if each[f'{kind}_id'] not in known]
        text = f'annotations whose {kind}_id is not in the file. CocoDataset drops them.'
        problems.add(f'unknown-{kind}: {text}', ids)
    text = 'an annotation has the id 0. COCO evaluation always counts its box as missed.'
    is_zero = any(each['id'] == 0 for each in usable['annotations'])
    problems.warn(f'annotation-id-0: {text}', *[0] * is_zero)
    return usable


def _select_usable(name: str, records: Sequence[Record], problems: Problems) -> Iterator[Record]:
    fields = FIELDS[name].items()
    for index, record in enumerate(records):
        wrong = [key for key, is_valid in fields if not is_valid(record.get(key))]
        if not wrong:
            if name != 'images' or _has_usable_size(record, problems):
                yield record
            continue
        culprit = record.get('file_name') or record.get('id', f'{name}[{index}]')
        culprit = culprit if isinstance(culprit, str) else reprlib.repr(culprit)
        for key in wrong:
            if key in record:
                text = f'bad-{key}: {name} with a wrong "{key}". {SKIPPED}'
                problems.add(text, [f'{culprit} ({reprlib.repr(record[key])})'])
            else:
                result = CONSEQUENCES.get(key, SKIPPED)
                problems.add(f'missing-{key}: {name} without "{key}". {result}', [culprit])
        if all(key in CONSEQUENCES and key not in record for key in wrong):
            _, _, width, height = record['bbox']
            yield {'area': width * height, 'iscrowd': 0, **record}


def _has_usable_size(image: Record, problems: Problems) -> bool:
    short, long = sorted([image['width'], image['height']])
    is_usable = short * long <= MAX_PIXELS and long <= MAX_PROPORTION * short
    if not is_usable:
        text = f'images of more than {MAX_PIXELS} pixels or {MAX_PROPORTION} times as long as wide'
        culprit = f'{image["file_name"]} ({image["width"]} x {image["height"]})'
        problems.add(f'bad-size: {text}, which OpenCV cannot read or resize. {SKIPPED}', [culprit])
    return is_usable


class Boxes(NamedTuple):
    """Annotations whose image is in the file, in file order."""

    records: np.ndarray  # (N,)
    image_sizes: np.ndarray  # (N, 2), width and height of the image of each, in pixels
    boxes: np.ndarray  # (N, 4), left, top, width and height, in pixels
    areas: np.ndarray  # (N,), as in the file, in square pixels

    @classmethod
    def of_file(cls, content: Content) -> 'Boxes':
        """Select them from usable records."""
        # Of images with the same id, CocoDataset uses the last.
        sizes = {each['id']: (each['width'], each['height']) for each in content['images']}
        records = [each for each in content['annotations'] if each['image_id'] in sizes]
        return cls(
            np.array(records, object),
            np.array([sizes[each['image_id']] for each in records], float).reshape(-1, 2),
            np.array([each['bbox'] for each in records], float).reshape(-1, 4),
            np.array([each['area'] for each in records], float),
        )

    def select(self, mask: np.ndarray) -> 'Boxes':
        """Select by a mask ``(N,)``."""
        return Boxes(*(each[mask] for each in self))

    def ids(self, mask: np.ndarray) -> list[object]:
        """List the ids by a mask ``(N,)``."""
        return [each['id'] for each in self.records[mask]]

    def drop_reasons(self) -> np.ndarray:
        """Explain why ``CocoDataset.parse_data_info`` drops each: ``(N,)``, '' if it is kept."""
        start, sides = self.boxes[:, :2], self.boxes[:, 2:]
        inside = np.minimum(start + sides, self.image_sizes) - np.maximum(start, 0)
        conditions = [
            np.array([bool(each.get('ignore')) for each in self.records], bool),
            (sides < 1).any(axis=1),
            self.areas <= 0,
            (inside <= 0).any(axis=1),
        ]
        return np.select(conditions, [IGNORED, *DROPPED_BOXES], '')

    def measure(self, rescale: Rescale) -> np.ndarray:
        """Compute the square roots of the areas in the resized images, in pixels."""
        sizes = self.image_sizes.astype(int).tolist()
        factors = np.array([rescale(*size) for size in sizes], float).reshape(-1, 2)
        return np.sqrt((self.boxes[:, 2:] * factors).prod(axis=1))


def find_over_edge(boxes: np.ndarray, image_sizes: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return which boxes ``(N, 4)`` cross the border, and whether all seem to be corners."""
    start, last = boxes[:, :2], boxes[:, 2:]
    over_edge = (start < -EDGE_TOLERANCE) | (start + last - image_sizes > EDGE_TOLERANCE)
    over_edge = over_edge.any(axis=1)
    fits = ((start < last) & (last <= image_sizes + EDGE_TOLERANCE)).all(axis=1)
    is_often_over = over_edge.sum() >= OVER_EDGE_SHARE * len(boxes)
    return over_edge, is_often_over and fits.sum() >= CORNER_SHARE * len(boxes)


def check_boxes(boxes: Boxes, problems: Problems) -> None:
    """Find boxes that CocoDataset drops or that cross the border."""
    reasons = boxes.drop_reasons()
    over_edge, are_corners = find_over_edge(boxes.boxes, boxes.image_sizes)
    over_edge &= reasons == ''
    text = 'boxes cross the image border, but fit as corners. COCO uses [left, top, width, height].'
    problems.add(f'corners-as-size: {text}', boxes.ids(over_edge & are_corners))
    for reason, text in DROPPED_BOXES.items():
        problems.add(f'{reason}: {text}. CocoDataset drops them.', boxes.ids(reasons == reason))
    text = 'annotations with "ignore". CocoDataset drops them; their objects become background.'
    problems.warn(f'{IGNORED}: {text}', *boxes.ids(reasons == IGNORED))
    text = 'box-over-edge: boxes that cross the border of their image.'
    problems.warn(text, *boxes.ids(over_edge))


def check_sizes(boxes: Boxes, sizes: np.ndarray, anchors: Anchors, problems: Problems) -> None:
    """Warn if most of the kept boxes, of these sizes, are smaller or larger than all anchors."""
    if anchors.share(sizes) >= ENOUGH_INSIDE:
        return
    is_outside = ~anchors.include(sizes)
    option = f'{anchors.head}.anchor_generator.{anchors.option or "sizes"}'
    pairs = zip(boxes.ids(is_outside), sizes[is_outside], strict=True)
    text = f'most boxes are outside the anchors, {anchors}. Change {option} or the image scale.'
    problems.warn(f'anchor-sizes: {text}', *(f'{n} ({size:.0f} pixels)' for n, size in pairs))


class Kept(NamedTuple):
    """Records that CocoDataset trains on."""

    categories: list[Record]  # with a label, in the order of the labels
    boxes: Boxes  # including crowds
    images: list[Record]


def select_kept(
    content: Content, boxes: Boxes, classes: Collection[str] | None, filter_cfg: dict[str, Any]
) -> Kept:
    """Select the records that CocoDataset trains on, in file order.

    None stands for the classes of all categories. Of the dataset's ``filter_cfg``,
    ``filter_empty_gt`` drops images without annotations of these classes, ``min_size`` those with a
    shorter side, in pixels.
    """
    categories = [each for each in content['categories'] if not classes or each['name'] in classes]
    category_ids = {category['id'] for category in categories}
    is_trained = np.array([each['category_id'] in category_ids for each in boxes.records], bool)
    images = [*{image['id']: image for image in content['images']}.values()]
    if filter_cfg.get('filter_empty_gt', False):
        # As in ``CocoDataset.filter_data``, dropped annotations count, too.
        trained = (each for each in content['annotations'] if each['category_id'] in category_ids)
        annotated = {each['image_id'] for each in trained}
        images = [image for image in images if image['id'] in annotated]
    min_size = filter_cfg.get('min_size', 0)
    images = [image for image in images if min(image['width'], image['height']) >= min_size]
    return Kept(categories, boxes.select(is_trained & (boxes.drop_reasons() == '')), images)


def count_boxes(content: Content, kept: Kept) -> list[dict[str, Any]]:
    """Count the boxes of each category: in the file, kept, and of these crowds and sizes."""
    in_file = Counter(annotation['category_id'] for annotation in content['annotations'])
    rows = {
        each['id']: {'class': each['name'], 'in file': in_file[each['id']]}
        | dict.fromkeys(('kept', 'crowd', *SIZE_BINS), 0)
        for each in kept.categories
    }
    bins = np.searchsorted((MEDIUM_AREA, LARGE_AREA), kept.boxes.areas, side='right')
    for record, number in zip(kept.boxes.records, bins.tolist(), strict=True):
        row = rows[record['category_id']]
        row['kept'] += 1
        row['crowd'] += bool(record['iscrowd'])
        row[SIZE_BINS[number]] += 1
    return [rows[each['id']] for each in kept.categories]


def check_kept(content: Content, kept: Kept, problems: Problems) -> None:
    """Find classes and images of which CocoDataset keeps no box."""
    records = kept.boxes.records
    if not len(records):
        num_images = len(content['images'])
        problems.add('no-boxes: CocoDataset keeps no boxes.', [f'{num_images} images'])
        return
    if all(annotation['iscrowd'] for annotation in records):
        text = 'only-crowds: all boxes are crowds, which are not trained on.'
        problems.add(text, [f'{len(records)} boxes'])
        return
    with_boxes = {annotation['category_id'] for annotation in records}
    text = 'class-without-boxes: classes of which no box is kept.'
    problems.warn(text, *(x['name'] for x in kept.categories if x['id'] not in with_boxes))
    with_boxes = {annotation['image_id'] for annotation in records}
    text = 'images of which no box is kept. They are used as background.'
    names = (each['file_name'] for each in kept.images if each['id'] not in with_boxes)
    problems.warn(f'image-without-boxes: {text}', *names)
    kept_ids = {image['id'] for image in kept.images}
    text = "images that the config's filter_cfg drops: without annotations, or too small."
    names = (each['file_name'] for each in content['images'] if each['id'] not in kept_ids)
    problems.warn(f'image-left-out: {text}', *names)


def check_classes(
    content: Content, classes: Sequence[str], allow_subset: bool, problems: Problems
) -> None:
    """Compare the category names with the classes of the detector, and their order.

    CocoDataset finds categories by name, but numbers them in file order. If a class is missing from
    the file or the order differs, labels get other names than in the config.
    """
    num_boxes = Counter(annotation['category_id'] for annotation in content['annotations'])
    names = {each['name']: num_boxes[each['id']] for each in content['categories']}
    of_config = [name for name in classes if name in names]
    of_file = [name for name in names if name in classes]
    left_out = {name: number for name, number in names.items() if name not in classes}
    text = 'classes that are not in the file. The labels of the following classes are shifted.'
    missing = [repr(name) for name in classes if name not in names]
    problems.add(f'class-not-in-file: {text}', missing)
    text = 'categories that are not in the config. CocoDataset drops their boxes.'
    culprits = [f'{name!r} ({number} boxes)' for name, number in left_out.items() if number]
    problems.add(f'category-not-in-classes: {text}', culprits, is_warning=allow_subset)
    text = 'unused-category: categories without boxes that are not in the config.'
    problems.warn(text, *(repr(name) for name, number in left_out.items() if not number))
    if of_config != of_file:
        text = 'class-order: labels follow the file, so that detections get names of other classes.'
        problems.add(text, [f'config {of_config}, file {of_file}'])

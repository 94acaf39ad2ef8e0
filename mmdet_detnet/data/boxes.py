"""The boxes and images that mmdet's CocoDataset keeps, why it drops others, and wrong boxes."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .annotation_file import AnnotationFile, Record
from .problems import Problem, problem_of

# Why CocoDataset drops an annotation.
IGNORED = 'ignored-annotation'
DEGENERATE = 'degenerate-box'
NO_AREA = 'area-not-positive'
OUTSIDE = 'box-outside-image'
NOT_TRAINED = 'category-not-in-classes'
DROPPED_BOXES = {
    DEGENERATE: 'boxes less than 1 pixel wide or high. CocoDataset drops them.',
    NO_AREA: 'annotations without a positive area. CocoDataset drops them.',
    OUTSIDE: 'boxes outside their image. CocoDataset drops them.',
}
# Tolerance at the image border for rounding, in pixels.
EDGE_TOLERANCE = 0.5
# Minimum fractions at which the last two numbers of boxes are considered corners.
OVER_EDGE_SHARE, CORNER_SHARE = 0.2, 0.95
# COCO's bounds of small and medium areas, in square pixels of the original image.
MEDIUM_AREA, LARGE_AREA = 32**2, 96**2
SIZE_BINS = ('small', 'medium', 'large')


@dataclass(frozen=True)
class Kept:
    """Records that CocoDataset trains on.

    Attributes:
        categories: Categories with a label, in the order of the labels.
        boxes: Each annotation with its image, including crowds.
        images: The images.
    """

    categories: list[Record]
    boxes: list[tuple[Record, Record]]
    images: list[Record]


def drop_reason(annotation: Record, image: Record, category_ids: Collection) -> str:
    """Say why CocoDataset drops an annotation, by the rules of ``CocoDataset.parse_data_info``.

    Args:
        annotation: An annotation.
        image: Its image.
        category_ids: Ids of the trained categories.

    Returns:
        The reason; empty if the annotation is kept.
    """
    left, top, width, height = annotation['bbox']
    if annotation.get('ignore', False):
        return IGNORED
    if width < 1 or height < 1:
        return DEGENERATE
    if annotation['area'] <= 0:
        return NO_AREA
    if min(left + width, image['width']) <= max(left, 0):
        return OUTSIDE
    if min(top + height, image['height']) <= max(top, 0):
        return OUTSIDE
    return '' if annotation['category_id'] in category_ids else NOT_TRAINED


def select_kept(
    file: AnnotationFile, classes: Collection[str] | None, filter_cfg: dict[str, Any]
) -> Kept:
    """Select the records that CocoDataset trains on.

    Args:
        file: Records with all fields.
        classes: Class names; None for all categories.
        filter_cfg: Option of the dataset: ``filter_empty_gt`` drops images without annotations of
            these classes, ``min_size`` those with a shorter side, in pixels.

    Returns:
        Records of ``file``, in file order.
    """
    categories = [each for each in file.categories if classes is None or each['name'] in classes]
    category_ids = {category['id'] for category in categories}
    images = {image['id']: image for image in file.images}
    pairs = [
        (each, images[each['image_id']]) for each in file.annotations if each['image_id'] in images
    ]
    boxes = [pair for pair in pairs if not drop_reason(*pair, category_ids)]
    # As in ``CocoDataset.filter_data``, dropped annotations count, too.
    annotated = {
        each['image_id'] for each in file.annotations if each['category_id'] in category_ids
    }
    empty_too = not filter_cfg.get('filter_empty_gt', False)
    min_size = filter_cfg.get('min_size', 0)
    kept_images = [
        image
        for image in images.values()
        if (empty_too or image['id'] in annotated)
        and min(image['width'], image['height']) >= min_size
    ]
    return Kept(categories, boxes, kept_images)


def count_boxes(file: AnnotationFile, kept: Kept) -> list[dict[str, Any]]:
    """Count the boxes of each class.

    Returns:
        For each category its name (``class``) and its numbers of annotations: in the file
        (``in file``), ``kept``, and of these ``crowd`` (not trained on), ``small``, ``medium`` and
        ``large``.
    """
    in_file = Counter(annotation['category_id'] for annotation in file.annotations)
    boxes = defaultdict(list)
    for annotation, _ in kept.boxes:
        boxes[annotation['category_id']].append(annotation)
    return [
        {
            'class': category['name'],
            'in file': in_file[category['id']],
            'kept': len(boxes[category['id']]),
            'crowd': sum(bool(each['iscrowd']) for each in boxes[category['id']]),
            **{name: 0 for name in SIZE_BINS},
            **Counter(map(_size_bin, boxes[category['id']])),
        }
        for category in kept.categories
    ]


def _size_bin(annotation: Record) -> str:
    if annotation['area'] < MEDIUM_AREA:
        return 'small'
    return 'medium' if annotation['area'] < LARGE_AREA else 'large'


def check_boxes(file: AnnotationFile) -> list[Problem]:
    """Find boxes that CocoDataset drops, and boxes that cross the image border.

    Args:
        file: Records with all fields.
    """
    images = {image['id']: image for image in file.images}
    every_category = {annotation['category_id'] for annotation in file.annotations}
    dropped = defaultdict(list)
    over_edge, corners = [], []
    for annotation in file.annotations:
        image = images.get(annotation['image_id'])
        if image is None:
            continue
        reason = drop_reason(annotation, image, every_category)
        if reason:
            dropped[reason].append(annotation['id'])
        elif _reaches_over_edge(annotation, image):
            over_edge.append(annotation['id'])
        if _could_be_corners(annotation, image):
            corners.append(annotation['id'])
    num_boxes = len(file.annotations)
    are_corners = (
        len(over_edge) >= OVER_EDGE_SHARE * num_boxes and len(corners) >= CORNER_SHARE * num_boxes
    )
    problems = problem_of(
        'corners-as-size',
        'boxes cross the border of their image, and nearly all would fit as corners: COCO uses '
        '[left, top, width, height], not [left, top, right, bottom].',
        over_edge if are_corners else [],
    )
    for reason, message in DROPPED_BOXES.items():
        problems += problem_of(reason, message, dropped[reason])
    message = 'annotations with "ignore". CocoDataset drops them; their objects become background.'
    problems += problem_of(IGNORED, message, dropped[IGNORED], is_warning=True)
    message = 'boxes that cross the border of their image.'
    return problems + problem_of('box-over-edge', message, over_edge, is_warning=True)


def _reaches_over_edge(annotation: Record, image: Record) -> bool:
    left, top, width, height = annotation['bbox']
    overhang = max(-left, -top, left + width - image['width'], top + height - image['height'])
    return overhang > EDGE_TOLERANCE


def _could_be_corners(annotation: Record, image: Record) -> bool:
    """Tell whether the last two numbers could be the right and bottom edges."""
    left, top, right, bottom = annotation['bbox']
    across = left < right <= image['width'] + EDGE_TOLERANCE
    return across and top < bottom <= image['height'] + EDGE_TOLERANCE


def check_kept(file: AnnotationFile, kept: Kept) -> list[Problem]:
    """Find classes and images without boxes.

    Args:
        file: Records with all fields.
        kept: Records of them that CocoDataset keeps.
    """
    if not kept.boxes:
        images = [f'{len(file.images)} images']
        return problem_of('no-boxes', 'CocoDataset keeps no boxes.', images)
    if all(annotation['iscrowd'] for annotation, _ in kept.boxes):
        crowds = [f'{len(kept.boxes)} boxes']
        return problem_of('only-crowds', 'all boxes are crowds, which are not trained on.', crowds)
    classes_with_boxes = {annotation['category_id'] for annotation, _ in kept.boxes}
    images_with_boxes = {image['id'] for _, image in kept.boxes}
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

    Args:
        file: Records with all fields.
        classes: Class names in the order of the config.
        allow_subset: Whether categories with boxes may be missing from ``classes``.
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
            NOT_TRAINED,
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

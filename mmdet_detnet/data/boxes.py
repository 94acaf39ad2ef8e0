"""Check each box against its image."""

from collections import defaultdict

from . import retained
from .annotation_file import AnnotationFile, Record
from .problems import Problem, problem_of

# Tolerance at the image border for rounding, in pixels.
EDGE_TOLERANCE = 0.5
# Minimum fractions at which the last two numbers of boxes are considered corners.
OVER_EDGE_SHARE, CORNER_SHARE = 0.2, 0.95
# Why CocoDataset drops a single box.
DROPPED = {
    retained.DEGENERATE: 'boxes less than 1 pixel wide or high.',
    retained.NO_AREA: 'annotations without a positive area.',
    retained.OUTSIDE: 'boxes outside their image.',
}


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
        reason = retained.drop_reason(annotation, image, every_category)
        if reason:
            dropped[reason].append(annotation['id'])
        elif _reaches_over_edge(annotation, image):
            over_edge.append(annotation['id'])
        if _could_be_corners(annotation, image):
            corners.append(annotation['id'])
    found = _find_corners(over_edge, corners, len(file.annotations))
    for reason, message in DROPPED.items():
        found += problem_of(reason, f'{message} CocoDataset drops them.', dropped[reason])
    message = 'annotations with "ignore". CocoDataset drops them; their objects become background.'
    found += problem_of(retained.IGNORED, message, dropped[retained.IGNORED], is_warning=True)
    message = 'boxes that cross the border of their image.'
    return found + problem_of('box-over-edge', message, over_edge, is_warning=True)


def _reaches_over_edge(annotation: Record, image: Record) -> bool:
    left, top, width, height = annotation['bbox']
    overhang = max(-left, -top, left + width - image['width'], top + height - image['height'])
    return overhang > EDGE_TOLERANCE


def _could_be_corners(annotation: Record, image: Record) -> bool:
    """Tell whether the last two numbers could be the right and bottom edges."""
    left, top, right, bottom = annotation['bbox']
    across = left < right <= image['width'] + EDGE_TOLERANCE
    return across and top < bottom <= image['height'] + EDGE_TOLERANCE


def _find_corners(over_edge: list, corners: list, num_boxes: int) -> list[Problem]:
    if len(over_edge) < OVER_EDGE_SHARE * num_boxes or len(corners) < CORNER_SHARE * num_boxes:
        return []
    return problem_of(
        'corners-as-size',
        'boxes cross the border of their image, and nearly all would fit as corners: COCO uses '
        '[left, top, width, height], not [left, top, right, bottom].',
        over_edge,
    )

"""Check the boxes, each against its image."""

from collections import defaultdict

from . import retained
from .annotation_file import AnnotationFile, Record
from .findings import Finding, find

# How far a box may reach over the edge of its image by rounding, in pixels.
EDGE_TOLERANCE = 0.5


def check_boxes(file: AnnotationFile) -> list[Finding]:
    """Look for boxes that CocoDataset drops, and for those that reach over their image.

    Args:
        file: Records that have all fields.

    Returns:
        What is found.
    """
    images = {image['id']: image for image in file.images}
    every_category = {annotation['category_id'] for annotation in file.annotations}
    dropped = defaultdict(list)
    over_edge = []
    for annotation in file.annotations:
        image = images.get(annotation['image_id'])
        if image is None:
            continue
        reason = retained.drop_reason(annotation, image, every_category)
        if reason:
            dropped[reason].append(annotation['id'])
        elif _reaches_over_edge(annotation, image):
            over_edge.append(annotation['id'])
    return [
        *find(
            retained.DEGENERATE,
            'boxes narrower or lower than 1 pixel. CocoDataset drops them.',
            dropped[retained.DEGENERATE],
        ),
        *find(
            retained.NO_AREA,
            'annotations whose area is not above 0. CocoDataset drops them.',
            dropped[retained.NO_AREA],
        ),
        *find(
            retained.OUTSIDE,
            'boxes that lie outside their image. CocoDataset drops them.',
            dropped[retained.OUTSIDE],
        ),
        *find(
            retained.IGNORED,
            'annotations with "ignore". CocoDataset drops them, and their objects are background.',
            dropped[retained.IGNORED],
            is_problem=False,
        ),
        *find(
            'box-over-edge',
            'boxes that reach over the edge of their image.',
            over_edge,
            is_problem=False,
        ),
    ]


def _reaches_over_edge(annotation: Record, image: Record) -> bool:
    left, top, width, height = annotation['bbox']
    overhang = max(-left, -top, left + width - image['width'], top + height - image['height'])
    return overhang > EDGE_TOLERANCE

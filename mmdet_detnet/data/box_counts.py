"""Count the boxes that CocoDataset retains, by class and size."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from .annotation_file import AnnotationFile, Record
from .retained import Retained
from .training_config import TrainingConfig

# COCO's bounds of small and medium areas, in square pixels of the original image.
MEDIUM_AREA, LARGE_AREA = 32**2, 96**2
SIZE_BINS = ('small', 'medium', 'large')


def _size_bin(annotation: Record) -> str:
    """Return which of ``SIZE_BINS`` an object is in."""
    if annotation['area'] < MEDIUM_AREA:
        return 'small'
    return 'medium' if annotation['area'] < LARGE_AREA else 'large'


def count_boxes(file: AnnotationFile, retained: Retained) -> list[dict[str, Any]]:
    """Count the boxes of each class.

    Args:
        file: All records.
        retained: Records that CocoDataset retains of them.

    Returns:
        For each category its name (``class``) and its numbers of annotations: in the file
        (``in file``), ``retained``, and of these ``crowd`` (not trained on), ``small``, ``medium``
        and ``large``.
    """
    in_file = Counter(annotation['category_id'] for annotation in file.annotations)
    boxes = defaultdict(list)
    for annotation, _ in retained.boxes:
        boxes[annotation['category_id']].append(annotation)
    return [
        {
            'class': category['name'],
            'in file': in_file[category['id']],
            'retained': len(boxes[category['id']]),
            'crowd': sum(bool(each['iscrowd']) for each in boxes[category['id']]),
            **{name: 0 for name in SIZE_BINS},
            **Counter(map(_size_bin, boxes[category['id']])),
        }
        for category in retained.categories
    ]


def resized_sizes(retained: Retained, config: TrainingConfig) -> np.ndarray:
    """Compute the sizes of boxes in the resized images.

    Args:
        retained: Records that CocoDataset retains.
        config: Config with the image scale.

    Returns:
        Square roots of the areas, in pixels.
    """
    areas = []
    for annotation, image in retained.boxes:
        across, down = config.rescale(int(image['width']), int(image['height']))
        _, _, width, height = annotation['bbox']
        areas.append(width * across * height * down)
    return np.sqrt(areas)

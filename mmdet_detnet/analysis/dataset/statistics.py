"""Count the boxes that CocoDataset keeps, by class and by size."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from .annotation_file import AnnotationFile, Record
from .retained import Retained
from .training_config import TrainingConfig

# COCO's bounds between small, medium and large: areas in square pixels of the original image.
MEDIUM_AREA, LARGE_AREA = 32**2, 96**2
SIZE_BINS = ('small', 'medium', 'large')


def size_bin(annotation: Record) -> str:
    """Name COCO's bin of an object's size.

    Args:
        annotation: Its annotation.

    Returns:
        One of ``SIZE_BINS``.
    """
    if annotation['area'] < MEDIUM_AREA:
        return 'small'
    return 'medium' if annotation['area'] < LARGE_AREA else 'large'


def count_boxes(file: AnnotationFile, retained: Retained) -> list[dict[str, Any]]:
    """Count the boxes of each class.

    Args:
        file: All records.
        retained: What CocoDataset retains of them.

    Returns:
        For each category its name (``class``), how many annotations are in the file
        (``in file``), how many are ``retained``, how many of those are a ``crowd``, which is not
        trained on, and how many of those retained are ``small``, ``medium`` and ``large``.
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
            **Counter(map(size_bin, boxes[category['id']])),
        }
        for category in retained.categories
    ]


def resized_sizes(retained: Retained, config: TrainingConfig) -> np.ndarray:
    """Compute the sizes of the boxes as the detector sees them.

    Args:
        retained: What CocoDataset retains.
        config: Its image scale is applied.

    Returns:
        Square roots of the areas, in pixels.
    """
    areas = []
    for annotation, image in retained.boxes:
        across, down = config.rescale(int(image['width']), int(image['height']))
        _, _, width, height = annotation['bbox']
        areas.append(width * across * height * down)
    return np.sqrt(areas)

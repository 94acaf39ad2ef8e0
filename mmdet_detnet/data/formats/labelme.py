"""LabelMe: a JSON file of shapes per image."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.files import ImageFiles
from mmdet_detnet.data.problems import problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

from .shapes import outline_box, read_polygon

IMAGE_DATA = 'imageData'  # the encoded image, in each file


def recognizes(content: object) -> bool:
    """Tell whether a JSON file is in this format.

    Args:
        content: Its content.
    """
    return isinstance(content, dict) and content.keys() >= {'shapes', 'imagePath'}


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles) -> LabeledSet:
    """Read rectangles, circles and polygons; a polygon becomes a box with a mask.

    Args:
        files: JSON files, each with its content.
        images: The images.

    Returns:
        The data set.

    Raises:
        ValueError: If a file is damaged.
    """
    result, odd_shapes = [], []
    for file, content in files:
        try:
            boxes = [_read_shape(shape) for shape in content['shapes']]
            path = images.find(file, content['imagePath'], file.stem)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{file}: damaged shape or imagePath ({error!r}).') from error
        kinds = [shape.get('shape_type', 'polygon') for shape in content['shapes']]
        odd_shapes += [
            f'{file.name} ({kind})' for kind, box in zip(kinds, boxes, strict=True) if box is None
        ]
        if path is not None:
            split = images.name_split(path)
            found = [box for box in boxes if box is not None]
            result.append(LabeledImage(path, found, split))
    message = 'shapes without area, such as points and lines. Skipped.'
    problems = problem_of('shape-without-area', message, odd_shapes, is_warning=True)
    return LabeledSet(result, problems=problems + images.problems())


def _read_shape(shape: dict[str, Any]) -> LabeledBox | None:
    """Read a shape; None if its kind has no area."""
    kind, label = shape.get('shape_type', 'polygon'), str(shape['label'])
    points = [(float(x), float(y)) for x, y in shape['points']]
    if kind == 'rectangle':
        return LabeledBox(label, outline_box(points))
    if kind == 'circle':
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return LabeledBox(label, (x - radius, y - radius, 2 * radius, 2 * radius))
    if kind != 'polygon' or len(points) < 3:
        return None
    return read_polygon(label, points)

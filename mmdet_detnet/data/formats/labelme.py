"""LabelMe: a JSON file of shapes per image."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.image_files import ImageFiles
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.problems import problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet, outline_box

IMAGE_DATA = 'imageData'  # the encoded image, in each file
# Of these, the points are those of the enclosing box: of a mask, two corners.
OUTLINES = ('rectangle', 'mask', 'rotation', 'oriented_rectangle', 'quadrilateral')
WITHOUT_AREA = ('point', 'points', 'line', 'linestrip')


def recognizes(content: object) -> bool:
    """Tell whether the content of a JSON file is in this format."""
    return isinstance(content, dict) and content.keys() >= {'shapes', 'imagePath'}


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; a polygon becomes a box with a mask."""
    result = []
    skipped: dict[bool, list[str]] = {True: [], False: []}
    for file, content in files:
        try:
            kinds = [shape.get('shape_type') or 'polygon' for shape in content['shapes']]
            boxes = [*map(_read_shape, content['shapes'], kinds)]
            path = images.find(file, content['imagePath'], file.stem)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{file}: damaged shape or imagePath ({error!r}).') from error
        for kind, box in zip(kinds, boxes, strict=True):
            if box is None:
                has_area = kind not in WITHOUT_AREA and kind != 'polygon'
                skipped[has_area].append(f'{file.name} ({kind})')
        if path is not None:
            found = [box for box in boxes if box is not None]
            result.append(LabeledImage(path, found, file, images.name_split(path)))
    message = 'points, lines and polygons of less than three points, without an area. Skipped.'
    problems = problem_of('shape-without-area', message, skipped[False], is_warning=True)
    message = 'shapes of an unknown type. Skipped.'
    problems += problem_of('shape-not-read', message, skipped[True], is_warning=True)
    return LabeledSet(result, problems=problems + images.problems())


def _read_shape(shape: dict[str, Any], kind: str) -> LabeledBox | None:
    """Read a shape; None if its kind has no area or is unknown."""
    label = str(shape['label'])
    points = [(float(x), float(y)) for x, y in shape['points']]
    if kind == 'circle':
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return LabeledBox(label, (x - radius, y - radius, 2 * radius, 2 * radius))
    if kind in OUTLINES:
        return LabeledBox(label, outline_box(points))
    return LabeledBox.of_polygon(label, points) if kind == 'polygon' and len(points) > 2 else None

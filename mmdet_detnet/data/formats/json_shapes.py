"""LabelMe's JSON file of shapes per image, and CreateML's JSON file with a list of images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.images import ImageFiles, name_split
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet, outline_box

# Of these, the points are those of the enclosing box: of a mask, two corners.
OUTLINES = ('rectangle', 'mask', 'rotation', 'oriented_rectangle', 'quadrilateral')
# Keys of CreateML, as tools write them and as Apple documents them.
NAMES = ('image', 'imagefilename')
LISTS = ('annotations', 'annotation')
JsonFiles = Sequence[tuple[Path, Any]]  # each with its content


def is_labelme(content: Any, images: ImageFiles) -> bool:
    """Return whether the content of a JSON file is LabelMe's."""
    return isinstance(content, dict) and content.keys() >= {'shapes', 'imagePath'}


def is_createml(content: Any, images: ImageFiles) -> bool:
    """Return whether the content of a JSON file is CreateML's."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and all({*keys} & first.keys() for keys in (NAMES, LISTS))


def read_labelme(files: JsonFiles, images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; a polygon becomes a box with a mask."""
    result = []
    for file, content in files:
        boxes = []
        try:
            for shape in content['shapes']:
                kind = shape.get('shape_type') or 'polygon'
                box = _read_shape(shape, kind)
                boxes += [box] if box else []
                if box is None:
                    text = 'shape-not-read: shapes without an area, or of an unknown type. Skipped.'
                    images.problems.warn(text, f'{file.name} ({kind})')
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{file}: damaged shape ({error!r}).') from error
        path = images.find(file, str(content['imagePath'] or ''), file.stem)
        if path is not None:
            result.append(LabeledImage(path, boxes, file, images.name_split(path)))
    return LabeledSet(result)


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


def read_createml(files: JsonFiles, images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; a box is given by its center."""
    result = []
    for file, records in files:
        for record in records:
            try:
                name = next(record[key] for key in NAMES if key in record)
                found = next(record[key] for key in LISTS if key in record)
                boxes = [*map(_read_center, found)]
            except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
                raise ValueError(f'{file}: damaged record {record} ({error!r}).') from error
            path = images.find(file, str(name))
            if path is not None:
                split = images.name_split(path) or name_split(file.name)
                result.append(LabeledImage(path, boxes, file, split))
    return LabeledSet(result)


def _read_center(record: dict[str, Any]) -> LabeledBox:
    place = record['coordinates']
    x, y, width, height = (float(place[key]) for key in ('x', 'y', 'width', 'height'))
    label = str(record.get('label', record.get('labels')))
    return LabeledBox(label, (x - width / 2, y - height / 2, width, height))

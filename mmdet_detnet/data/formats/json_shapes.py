"""LabelMe's JSON file of shapes per image, and CreateML's JSON file with a list of images."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.images import ImageFiles, name_split
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    LabeledBox,
    LabeledImage,
    LabeledSet,
    Problems,
    known_size,
    outline_box,
)

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
    images.claim((file, str(content['imagePath'] or file.stem)) for file, content in files)
    for file, content in files:
        try:
            boxes = [*_read_shapes(content['shapes'], file, images.problems)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{file}: damaged shape ({error!r}).') from error
        path = images.find(file, str(content['imagePath'] or ''), file.stem)
        if path is not None:
            size = known_size(content.get('imageWidth'), content.get('imageHeight'))
            result.append(LabeledImage(path, boxes, file, images.name_split(path, file), size))
    return LabeledSet(result)


def _read_shapes(
    shapes: Sequence[dict[str, Any]], file: Path, problems: Problems
) -> Iterator[LabeledBox]:
    """Read the shapes that have an area; polygons of one class and group are one object."""
    polygons = defaultdict(list)
    for number, shape in enumerate(shapes):
        label, group = _read_label(shape, 'label'), shape.get('group_id')
        kind = shape.get('shape_type') or 'polygon'
        points = [(float(x), float(y)) for x, y in shape['points']]
        if kind == 'circle':
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            yield LabeledBox(label, (x - radius, y - radius, 2 * radius, 2 * radius))
        elif kind in OUTLINES:
            yield LabeledBox(label, outline_box(points))
        elif kind == 'polygon' and len(points) > 2:
            polygons[label, group, number if group in (None, '') else None].append(points)
        else:
            text = 'shape-not-read: shapes without an area, or of an unknown type. Skipped.'
            problems.warn(text, f'{file.name} ({kind})')
    for (label, *_), of_object in polygons.items():
        if len(of_object) > 1:
            text = 'polygons-joined: polygons of one class and group, which are one object.'
            problems.warn(text, f'{file.name} ({label})')
        yield LabeledBox.of_polygons(label, *of_object)


def _read_label(record: dict[str, Any], *keys: str) -> str:
    label = next((record[key] for key in keys if record.get(key) is not None), None)
    if label is None:
        raise ValueError('no label')
    return str(label)


def read_createml(files: JsonFiles, images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content; a box is given by its center."""
    result = []
    every = ((file, each) for file, records in files for each in records if isinstance(each, dict))
    images.claim((file, str(each[key])) for file, each in every for key in NAMES if key in each)
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
                split = images.name_split(path, file) or name_split(file.name)
                result.append(LabeledImage(path, boxes, file, split))
    return LabeledSet(result)


def _read_center(record: dict[str, Any]) -> LabeledBox:
    place = record['coordinates']
    x, y, width, height = (float(place[key]) for key in ('x', 'y', 'width', 'height'))
    label = _read_label(record, 'label', 'labels')
    return LabeledBox(label, (x - width / 2, y - height / 2, width, height))

"""CreateML: JSON files, each a list of images with boxes given by their centers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.image_files import ImageFiles, name_split
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

NAMES = ('image', 'imagefilename')


def recognizes(content: object) -> bool:
    """Tell whether the content of a JSON file is in this format."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and 'annotations' in first and any(n in first for n in NAMES)


def read(files: Sequence[tuple[Path, Any]], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotation files, each with its content."""
    result = []
    for file, records in files:
        for record in records:
            try:
                name = next(record[key] for key in NAMES if key in record)
                boxes = [_read_box(each) for each in record['annotations']]
                path = images.find(file, name)
            except (AttributeError, KeyError, StopIteration, TypeError) as error:
                raise ValueError(f'{file}: damaged record {record} ({error!r}).') from error
            if path is not None:
                split = images.name_split(path) or name_split(Path(file.name))
                result.append(LabeledImage(path, boxes, file, split))
    return LabeledSet(result, problems=images.problems())


def _read_box(record: dict[str, Any]) -> LabeledBox:
    place = record['coordinates']
    x, y, width, height = (float(place[key]) for key in ('x', 'y', 'width', 'height'))
    label = str(record.get('label', record.get('labels')))
    return LabeledBox(label, (x - width / 2, y - height / 2, width, height))

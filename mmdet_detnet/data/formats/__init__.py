"""Data sets in the formats of annotation tools, detected from the content of the files.

Each format is a module with ``recognizes`` and ``read``. They are our own because conversion
libraries lose what an evaluation needs: docs/own_data.md compares them.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmdet_detnet.data.annotation_file import read_json
from mmdet_detnet.data.files import ImageFiles, list_files
from mmdet_detnet.data.options import FORMATS
from mmdet_detnet.data.records import LabeledSet

from . import coco, createml, labelme, table, voc, yolo

# JSON files are recognized by their content, which is read only once; others by the file.
JSON_FORMATS = {'coco': coco, 'labelme': labelme, 'createml': createml}
OTHER_FORMATS = {'.xml': ('voc', voc), '.txt': ('yolo', yolo), '.csv': ('csv', table)}


def read_folder(
    folder: Path,
    images: Path | None = None,
    annotations: Path | None = None,
    format_name: str | None = None,
    zero_based: bool = False,
    ignored: Path | None = None,
) -> tuple[str, LabeledSet]:
    """Read a data set in any known format.

    Args:
        folder: The folder of the data set, in any arrangement.
        images: Folder of the images below it; None to search everywhere.
        annotations: Folder or file of the annotations; None to search everywhere.
        format_name: One of ``FORMATS``; None to detect it.
        zero_based: Whether VOC corners are positions from 0 instead of pixels counted from 1.
        ignored: A folder to skip, such as the output folder.

    Returns:
        The name of the format, and the data set.

    Raises:
        ValueError: If no annotations or several formats are found, or a file is damaged.
    """
    place = annotations or folder
    found = _recognize([place] if place.is_file() else list_files(place, ignored))
    if format_name is None:
        format_name = _choose(found, place)
    elif format_name not in found:
        raise ValueError(f'{place} has no annotations in the format {format_name}.')
    image_files = ImageFiles.below(images or folder, ignored)
    if not image_files.paths:
        raise ValueError(f'{images or folder} has no images.')
    files = found[format_name]
    if format_name == 'voc':
        return format_name, voc.read(files, image_files, zero_based)
    readers = {**JSON_FORMATS, **dict(OTHER_FORMATS.values())}
    return format_name, readers[format_name].read(files, image_files)


def _recognize(files: Iterable[Path]) -> dict[str, list[Any]]:
    """Sort files by format; a JSON file is a pair with its content."""
    found: dict[str, list[Any]] = defaultdict(list)
    for file in files:
        suffix = file.suffix.lower()
        if suffix == '.json':
            content = _read_json(file)
            for name, module in JSON_FORMATS.items():
                found[name] += [(file, content)] if module.recognizes(content) else []
        elif suffix in OTHER_FORMATS:
            name, reader = OTHER_FORMATS[suffix]
            found[name] += [file] if reader.recognizes(file) else []
    return {name: found[name] for name in FORMATS if found[name]}


def _read_json(file: Path) -> Any:
    content = read_json(file)
    if isinstance(content, dict):
        content.pop(labelme.IMAGE_DATA, None)  # those of a whole data set may not fit the memory
    return content


def _choose(found: dict[str, list[Any]], folder: Path) -> str:
    if not found:
        raise ValueError(
            f'{folder} has no annotations in a known format: {", ".join(FORMATS)}. '
            'Are they elsewhere? --annotations FOLDER'
        )
    if len(found) > 1:
        names = ', '.join(f'{name} ({len(files)} files)' for name, files in found.items())
        raise ValueError(f'{folder} has several formats: {names}. Choose one with --format.')
    return next(iter(found))

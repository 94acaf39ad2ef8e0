"""Data sets in the formats of annotation tools, told apart by what is in the files.

Each format is a module with ``recognizes`` and ``read``. They are our own, since the libraries
that convert between formats lose what an evaluation needs: docs/own_data.md compares them.
"""

import json
from collections import defaultdict
from pathlib import Path

from ..files import ImageFiles, list_files
from ..records import LabeledSet
from . import coco, createml, labelme, table, voc, yolo

JSON_FORMATS = {'coco': coco, 'labelme': labelme, 'createml': createml}
OTHER_FORMATS = {'.xml': ('voc', voc), '.txt': ('yolo', yolo), '.csv': ('csv', table)}
FORMATS = ('coco', 'voc', 'yolo', 'csv', 'labelme', 'createml')


def read_folder(
    folder: Path,
    images: Path | None = None,
    annotations: Path | None = None,
    format_name: str | None = None,
    zero_based: bool = False,
    ignored: Path | None = None,
) -> tuple[str, LabeledSet]:
    """Read a data set in whatever format it is.

    Args:
        folder: The folder that holds all of it, however it is arranged.
        images: The folder below it that has the images; None looks everywhere.
        annotations: The folder or file that has the annotations; None looks everywhere.
        format_name: One of ``FORMATS``; None looks into the files.
        zero_based: Whether the corners of VOC are positions from 0, not pixels counted from 1.
        ignored: A folder that is left out, such as that of the results.

    Returns:
        The name of the format, and the data set.

    Raises:
        ValueError: If no annotations or several formats are found, or a file is damaged.
    """
    place = annotations or folder
    files = [place] if place.is_file() else list_files(place, ignored)
    found = _sort_files(list(files))
    if format_name is None:
        format_name = _choose(found, place)
    elif format_name not in found:
        raise ValueError(f'{place} has no annotations in the format {format_name}.')
    image_files = ImageFiles.below(images or folder, ignored)
    if not image_files.paths:
        raise ValueError(f'{images or folder} has no images.')
    of_format = found[format_name]
    if format_name == 'voc':
        return format_name, voc.read(of_format, image_files, zero_based)
    readers = {**JSON_FORMATS, **dict(OTHER_FORMATS.values())}
    return format_name, readers[format_name].read(of_format, image_files)


def _sort_files(files: list[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        suffix = file.suffix.lower()
        if suffix == '.json':
            content = _read_json(file)
            for name, module in JSON_FORMATS.items():
                found[name] += [file] if module.recognizes(content) else []
        elif suffix in OTHER_FORMATS:
            name, reader = OTHER_FORMATS[suffix]
            found[name] += [file] if reader.recognizes(file) else []
    return {name: found[name] for name in FORMATS if found[name]}


def _read_json(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} is not a valid JSON file: {error}.') from error


def _choose(found: dict[str, list[Path]], folder: Path) -> str:
    if not found:
        raise ValueError(
            f'{folder} has no annotations in a format known here: {", ".join(FORMATS)}. '
            'Are they elsewhere? --annotations FOLDER'
        )
    if len(found) > 1:
        names = ', '.join(f'{name} ({len(files)} files)' for name, files in found.items())
        raise ValueError(f'{folder} has several formats: {names}. Choose one with --format.')
    return next(iter(found))

"""Datasets in the formats of annotation tools, detected from the content of the files.

Each format is a module with ``recognizes`` and ``read``. They are our own because conversion
libraries lose what an evaluation needs: docs/own_data.md compares them.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.image_files import ImageFiles, list_files, show_progress
from mmdet_detnet.data.options import FORMATS, Options
from mmdet_detnet.data.records import LabeledImage, LabeledSet
from mmdet_detnet.files import OutputFolder, read_json

from . import coco, createml, labelme, table, voc, yolo
from .foreign import recognize_foreign

# JSON files are recognized by their content, which is read only once; others by the file.
JSON_FORMATS = {'coco': coco, 'labelme': labelme, 'createml': createml}
READERS = {**JSON_FORMATS, 'voc': voc, 'yolo': yolo, 'csv': table}
SUFFIXES = {'.xml': 'voc', '.txt': 'yolo', '.csv': 'csv', '.tsv': 'csv'}


def read_folder(options: Options, out: OutputFolder | None = None) -> tuple[str, LabeledSet]:
    """Read a dataset in any known format.

    Args:
        options: Where the dataset is, and how to read it.
        out: The output folder, whose files are left out.

    Returns:
        The name of the format, and the dataset.

    Raises:
        ValueError: If no annotations or several formats are found, or a file is damaged.
    """
    place = options.annotations or options.folder
    images = ImageFiles.below(options.images or options.folder, out)
    if not images.paths:
        raise ValueError(f'{images.folder} has no images.')
    files = [place] if place.is_file() else [*list_files(place, out)]
    found = _recognize(files, images)
    if not found:
        foreign = recognize_foreign(files, place)
        raise ValueError(
            foreign
            or f'{place} has no annotations in a known format: {", ".join(FORMATS)}. '
            'Are they elsewhere? --annotations FOLDER'
        )
    name = options.format_name or next(iter(found))
    if name not in found:
        raise ValueError(f'{place} has no annotations in the format {name}.')
    if len(found) > 1 and not options.format_name:
        names = ', '.join(f'{name} ({len(files)} files)' for name, files in found.items())
        raise ValueError(f'{place} has several formats: {names}. Choose one with --format.')
    labeled = READERS[name].read(found[name], images, options)
    _check_unique(labeled.images)
    return name, labeled


def _recognize(files: Sequence[Path], images: ImageFiles) -> dict[str, list[Any]]:
    """Sort files by format; a JSON file is a pair with its content."""
    found: dict[str, list[Any]] = defaultdict(list)
    for file in show_progress(files, desc='reading annotations', unit='file'):
        suffix = file.suffix.lower()
        if suffix == '.json':
            content = read_json(file)
            if isinstance(content, dict):
                # The encoded images of a whole dataset may not fit the memory.
                content.pop(labelme.IMAGE_DATA, None)
            for name, module in JSON_FORMATS.items():
                found[name] += [(file, content)] if module.recognizes(content) else []
        elif suffix in SUFFIXES:
            name = SUFFIXES[suffix]
            found[name] += [file] if READERS[name].recognizes(file, images) else []
    return {name: found[name] for name in FORMATS if found[name]}


def _check_unique(images: Sequence[LabeledImage]) -> None:
    sources: dict[Path, Path | None] = {}
    for image in images:
        if image.path in sources:
            other = sources[image.path]
            places = f'twice in {other}' if other == image.source else f'{other} and {image.source}'
            raise ValueError(
                f'{image.path} has annotations in two places: {places}. Name the right one with '
                '--annotations.'
            )
        sources[image.path] = image.source

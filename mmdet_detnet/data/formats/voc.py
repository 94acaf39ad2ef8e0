"""Pascal VOC: an XML file per image, in any folders.

mmdet's own reader only supports the folders and integers of VOC 2007 and 2012, and takes the near
edge of the last pixel for the end of a box.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, iterparse, parse

from mmdet_detnet.data.images import ImageFiles, name_split
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

from .class_names import read_flag, read_text

# Where lists of the splits are, below the folder with the annotations or one above it.
LIST_FOLDERS = ('ImageSets/Main', 'ImageSets', '.')
LISTS = ('trainval', 'train', 'val', 'valid', 'test')
# A list that others divide, and how these begin.
DIVIDED = {('trainval', 'tra'), ('trainval', 'val')}
FILE_SUFFIXES = {'.xml', '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
MESSAGES = {
    'box-before-first-pixel': 'files with boxes that start before pixel 1. If they count from 0, '
    'give --zero-based.',
}


def recognizes(file: Path, images: ImageFiles) -> bool:
    """Tell whether an XML file is in this format; a damaged one is, to be reported later."""
    try:
        _, root = next(iterparse(file, events=('start',)))
    except (ParseError, StopIteration):
        return True
    return root.tag == 'annotation'


def read(files: Sequence[Path], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotations, with splits from lists or the names of folders.

    Difficult objects become crowds. VOC counts pixels from 1, including the last one.
    """
    read_lists = cache(_read_lists)
    result = []
    for file in files:
        root = _parse(file)
        boxes = [*_read_objects(root, file, 0 if options.zero_based else 1)]
        if any(min(each.box[:2]) < 0 for each in boxes):
            images.found['box-before-first-pixel'].append(file.name)
        # The XML file has its image's name; <filename> may be from another machine.
        path = images.find(file, file.stem, root.findtext('filename', '').strip())
        if path is not None:
            split = read_lists(file.parent).get(file.stem, '') or images.name_split(path)
            result.append(LabeledImage(path, boxes, file, split, _read_size(root)))
    return LabeledSet(result)


def _parse(file: Path) -> Element:
    try:
        return parse(file).getroot()
    except ParseError as error:
        raise ValueError(f'{file} is not valid XML: {error}.') from error


def _read_objects(root: Element, file: Path, first: int) -> Iterator[LabeledBox]:
    """Read the objects; ``first`` is the number of the first pixel."""
    for element in root.findall('object'):
        try:
            name = _read_text(element, 'name')
            left, top, right, bottom = (_read_number(element, f'bndbox/{each}') for each in CORNERS)
            is_difficult = read_flag(element.findtext('difficult', ''), '<difficult>')
        except ValueError as error:
            raise ValueError(f'{file}: {error}') from error
        box = (left - first, top - first, right - left + first, bottom - top + first)
        yield LabeledBox(name, box, is_difficult)


def _read_text(element: Element, path: str) -> str:
    text = element.findtext(path, '').strip()
    if not text:
        raise ValueError(f'an object has no <{path}>.')
    return text


def _read_number(element: Element, path: str) -> float:
    text = _read_text(element, path)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'<{path}> must be a finite number, got {text!r}.')
    return value


def _read_size(root: Element) -> tuple[int, int] | None:
    """Read width and height; some tools leave them out, or write 0."""
    width, height = (root.findtext(f'size/{side}', '').strip() for side in ('width', 'height'))
    if not (width.isdecimal() and height.isdecimal()) or 0 in (int(width), int(height)):
        return None
    return int(width), int(height)


def _read_lists(folder: Path) -> dict[str, str]:
    """Read the split of each name from the lists nearest to a folder of annotations."""
    for place in [folder, *folder.parents][:3]:
        for lists in (place / name for name in LIST_FOLDERS):
            files = [lists / f'{name}.txt' for name in LISTS if (lists / f'{name}.txt').is_file()]
            if files:
                return _merge_lists(files)
    return {}


def _merge_lists(files: Sequence[Path]) -> dict[str, str]:
    found: dict[str, Path] = {}
    for file in files:
        for line in filter(None, map(str.strip, read_text(file).splitlines())):
            # A line may also be the path of an image, or of an image and its annotation.
            last = Path(line)
            name = last.stem if last.suffix.lower() in FILE_SUFFIXES else last.name
            other = found.get(name, file)
            if other.name != file.name and (other.stem, file.stem[:3]) not in DIVIDED:
                raise ValueError(f'{name!r} is in two lists: {other} and {file}.')
            found[name] = file
    return {name: name_split(Path(file.name)) for name, file in found.items()}

"""Pascal VOC: an XML file per image, in any folders.

mmdet's own reader only supports the folders and integers of VOC 2007 and 2012, and takes the near
edge of the last pixel for the end of a box.
"""

import math
from collections.abc import Container, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser, parse

from mmdet_detnet.data.images import ImageFiles, name_split, read_head
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    LabeledBox,
    LabeledImage,
    LabeledSet,
    Problems,
    box_of_corners,
    enclose_rotated,
    known_size,
)

from .class_names import read_flag, read_text

# Where lists of the splits are, below the folder with the annotations or one above it.
LIST_FOLDERS = ('ImageSets/Main', 'ImageSets', '.')
LISTS = ('trainval', 'train', 'val', 'valid', 'test')
# A list that others divide, and how these begin.
DIVIDED = {('trainval', 'tra'), ('trainval', 'val')}
FILE_SUFFIXES = {'.xml', '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# What the parser raises, also for a declaration of another encoding.
DAMAGED = (LookupError, ParseError, ValueError)


def recognizes(file: Path, images: ImageFiles) -> bool:
    """Return whether a file is in this format; a damaged XML file is, to be reported later.

    The Stanford Dogs have no suffix.
    """
    # iterparse would hold the file until the garbage collector runs, which is stopped.
    parser: XMLPullParser[Element] = XMLPullParser(events=('start',))
    try:
        parser.feed(read_head(file))
        event: Any = next(parser.read_events())
    except (*DAMAGED, StopIteration):
        return file.suffix != ''
    return event[1].tag == 'annotation'


def read(files: Sequence[Path], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotations, with splits from lists or the names of folders.

    Difficult objects become crowds. VOC counts pixels from 1, including the last one.
    """
    # An annotation may be named a.jpg.xml.
    names = {name for file in files for name in (file.stem, Path(file.stem).stem)}
    read_lists = cache(partial(_read_lists, names=names, problems=images.problems))
    result, first = [], 0 if options.zero_based else 1
    images.claim((file, file.stem) for file in files)
    for file in files:
        try:
            root = parse(file).getroot()
        except DAMAGED as error:
            raise ValueError(f'{file} is not valid XML: {error}.') from error
        try:
            boxes = [*_read_objects(root, first, file.name, images.problems)]
        except ValueError as error:
            raise ValueError(f'{file}: {error}') from error
        # The XML file has its image's name; <filename> may be from another machine.
        path = images.find(file, file.stem, _read_text(root, 'filename'))
        if path is not None:
            lists = read_lists(file.parent)
            split = lists.get(file.stem) or lists.get(path.stem) or images.name_split(path, file)
            size = known_size(*(_read_text(root, f'size/{side}') for side in ('width', 'height')))
            result.append(LabeledImage(path, boxes, file, split, size))
    return LabeledSet(result)


def _read_text(element: Element, path: str) -> str:
    return element.findtext(path, '').strip()


def _read_objects(root: Element, first: int, file: str, problems: Problems) -> Iterator[LabeledBox]:
    """Read the objects; ``first`` is the number of the first pixel."""
    for element in root.findall('object'):
        name = _read_text(element, 'name')
        if not name:
            raise ValueError('an object has no <name>.')
        corners = [_read_number(element, f'bndbox/{each}') for each in CORNERS]
        left, top, width, height = box_of_corners(corners, file, problems)
        if min(left, top) < first:
            text = 'boxes before pixel 1. If they count from 0, give --zero-based.'
            problems.warn(f'box-before-first-pixel: {text}', file)
        is_difficult = read_flag(_read_text(element, 'difficult'), '<difficult>')
        box = (left - first, top - first, width + first, height + first)
        rotation = _read_text(element, "attributes/attribute[name='rotation']/value")
        yield LabeledBox(name, enclose_rotated(box, rotation, file, problems), is_difficult)


def _read_number(element: Element, path: str) -> float:
    text = _read_text(element, path)
    if not text:
        raise ValueError(
            f'an object has no <{path}>. If other files have the boxes, give their folder as '
            '--annotations.'
        )
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'<{path}> must be a finite number, got {text!r}.')
    return value


def _read_lists(folder: Path, names: Container[str], problems: Problems) -> dict[str, str]:
    """Read the split of each name from the lists nearest to a folder of annotations."""
    for place in [folder, *folder.parents][:3]:
        for lists in (place / name for name in LIST_FOLDERS):
            files = [lists / f'{name}.txt' for name in LISTS if (lists / f'{name}.txt').is_file()]
            if files:
                splits = _merge_lists(files, names)
                text = 'lists-not-used: lists of splits that name no annotated image.'
                problems.warn(text, *(files if not any(name in names for name in splits) else ()))
                return splits
    return {}


def _merge_lists(files: Sequence[Path], names: Container[str]) -> dict[str, str]:
    found: dict[str, Path] = {}
    for file in files:
        for line in filter(None, map(str.strip, read_text(file).splitlines())):
            # A line may also be the path of an image, or of an image and its annotation.
            last = Path(line.replace('\\', '/'))
            name = last.stem if last.suffix.lower() in FILE_SUFFIXES else last.name
            # Numbers may follow the name, as in the Oxford-IIIT Pet dataset.
            if name not in names and (first := name.split()[0]) in names:
                name = first
            other = found.get(name, file)
            if other.name != file.name and (other.stem, file.stem[:3]) not in DIVIDED:
                raise ValueError(f'{name!r} is in two lists: {other} and {file}.')
            found[name] = file
    return {name: name_split(file.name) for name, file in found.items()}

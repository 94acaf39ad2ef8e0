"""Pascal VOC: an XML file per image, in any folders.

mmdet's own reader only supports the folders and integers of VOC 2007 and 2012, and takes the near
edge of the last pixel for the end of a box.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, iterparse, parse

from mmdet_detnet.data.files import SPLITS, ImageFiles
from mmdet_detnet.data.problems import problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

LISTS = Path('ImageSets', 'Main')
# Spellings of the difficult flag.
FLAGS = {'0': False, '1': True, 'false': False, 'true': True, 'no': False, 'yes': True}
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def recognizes(file: Path) -> bool:
    """Tell whether an XML file is in this format; a damaged one is, to be reported later.

    Args:
        file: An XML file.
    """
    try:
        _, root = next(iterparse(file, events=('start',)))
    except (ParseError, StopIteration):
        return True
    return root.tag == 'annotation'


def read(files: Sequence[Path], images: ImageFiles, zero_based: bool = False) -> LabeledSet:
    """Read annotations; difficult objects become crowds.

    Args:
        files: XML files.
        images: The images.
        zero_based: Whether corners are positions from 0. VOC counts pixels from 1, including the
            last one.

    Returns:
        The data set, with splits from ``ImageSets/Main`` or the folder names.

    Raises:
        ValueError: If an annotation is damaged.
    """
    lists = _read_lists(files[0].parent.parent / LISTS)
    result, outside = [], []
    for file in files:
        root = _parse(file)
        boxes = [*_read_objects(root, file, 0 if zero_based else 1)]
        outside += [file.name] if any(min(each.box[:2]) < 0 for each in boxes) else []
        # The XML file has its image's name; <filename> may be from another machine.
        path = images.find(file, file.stem, root.findtext('filename', '').strip())
        if path is not None:
            split = lists.get(file.stem, '') or images.name_split(path)
            result.append(LabeledImage(path, boxes, split, _read_size(root)))
    message = 'files with boxes that start before pixel 1. If they count from 0, give --zero-based.'
    problems = problem_of('box-before-first-pixel', message, outside, is_warning=True)
    return LabeledSet(result, problems=problems + images.problems())


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
            is_difficult = _read_flag(element, 'difficult')
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


def _read_flag(element: Element, path: str) -> bool:
    text = element.findtext(path, '').strip().lower() or '0'
    if text not in FLAGS:
        raise ValueError(f'<{path}> must be one of {list(FLAGS)}, got {text!r}.')
    return FLAGS[text]


def _read_size(root: Element) -> tuple[int, int] | None:
    """Read width and height; some tools leave them out, or write 0."""
    width, height = (root.findtext(f'size/{side}', '').strip() for side in ('width', 'height'))
    if not (width.isdecimal() and height.isdecimal()) or 0 in (int(width), int(height)):
        return None
    return int(width), int(height)


def _read_lists(folder: Path) -> dict[str, str]:
    return {
        name.strip(): split
        for split in SPLITS
        if (folder / f'{split}.txt').is_file()
        for name in (folder / f'{split}.txt').read_text(encoding='utf-8').splitlines()
    }

"""CSV: one row per box, with one of the common headers."""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmdet_detnet.data.files import ImageFiles, name_split
from mmdet_detnet.data.images import read_header
from mmdet_detnet.data.problems import problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

from .shapes import Box

# Headers in lower case without punctuation; the first one found counts.
IMAGE = (
    'filename',
    'imagename',
    'imagepath',
    'filepath',
    'path',
    'image',
    'imageid',
    'img',
    'file',
)
LABEL = ('class', 'label', 'classname', 'labelname', 'category', 'categoryname', 'name')
SPLIT = ('split', 'set', 'subset')
CORNERS = (
    ('xmin', 'ymin', 'xmax', 'ymax'),
    ('x1', 'y1', 'x2', 'y2'),
    ('left', 'top', 'right', 'bottom'),
)
SIZES = (
    ('x', 'y', 'w', 'h'),
    ('x', 'y', 'width', 'height'),
    ('xmin', 'ymin', 'width', 'height'),
    ('bboxx', 'bboxy', 'bboxwidth', 'bboxheight'),
    ('left', 'top', 'width', 'height'),
)
IN_ONE = 'bbox'
# keras-retinanet's files have no header.
HEADLESS = ['path', 'x1', 'y1', 'x2', 'y2', 'class']
ONLY_CLASS = 'object'

Row = dict[str, str]


def recognizes(file: Path) -> bool:
    """Tell whether a CSV file has columns for images and boxes.

    Args:
        file: A CSV file.
    """
    first = next(iter(_read_table(file)), [])
    return _is_headless(first) or _has_columns([*map(_plain, first)])


def _read_table(file: Path) -> list[list[str]]:
    """Read the rows of a file that are not empty."""
    try:
        with file.open(newline='', encoding='utf-8-sig') as stream:
            return [row for row in csv.reader(stream) if any(row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{file} is not a valid CSV file: {error}.') from error


def _plain(header: str) -> str:
    return re.sub('[^a-z0-9]', '', header.lower())


def _is_headless(first: Sequence[str]) -> bool:
    return len(first) == len(HEADLESS) and all(map(_is_number, first[1:5]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _has_columns(names: Sequence[str]) -> bool:
    has_box = any({*columns} <= {*names} for columns in CORNERS + SIZES) or IN_ONE in names
    return has_box and any(name in names for name in IMAGE)


def read(files: Sequence[Path], images: ImageFiles) -> LabeledSet:
    """Read tables. Corners are positions from 0, in pixels or as fractions of the image.

    Args:
        files: CSV files.
        images: The images.

    Returns:
        The data set, with splits from a column ``split`` or the file names.

    Raises:
        ValueError: If a row is wrong.
    """
    result: list[LabeledImage] = []
    without_class: list[str] = []
    for file in files:
        rows = _read_rows(file)
        try:
            result += _read_images(rows, file, images)
        except ValueError as error:
            raise ValueError(f'{file}: {error}') from error
        without_class += [
            f'{file.name}, row {n}' for n, row in enumerate(rows, 1) if not _first(row, LABEL)
        ]
    message = f'rows without a class: {ONLY_CLASS!r}, if they have a box.'
    problems = problem_of('row-without-class', message, without_class, is_warning=True)
    return LabeledSet(_merge(result), problems=problems + images.problems())


def _read_images(rows: Sequence[Row], file: Path, images: ImageFiles) -> list[LabeledImage]:
    are_shares = _are_shares(rows)
    result = []
    for name, of_image in _group_by_image(rows).items():
        path = images.find(file, name)
        if path is None:
            continue
        factors = read_header(path).size if are_shares else (1, 1)
        boxes = [box for row in of_image if (box := _read_box(row, factors))]
        split = name_split(Path(_first(of_image[0], SPLIT) or file.stem))
        split = split or images.name_split(path)
        result.append(LabeledImage(path, boxes, split))
    return result


def _read_rows(file: Path) -> list[Row]:
    table = _read_table(file)
    names = HEADLESS if _is_headless(table[0]) else [*map(_plain, table.pop(0))]
    return [dict(zip(names, (text.strip() for text in row), strict=False)) for row in table]


def _first(row: Row, names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), '')


def _group_by_image(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not _first(row, IMAGE):
            raise ValueError(f'no image in the row {row}.')
        groups[_first(row, IMAGE)].append(row)
    return groups


def _read_box(row: Row, factors: tuple[int, int]) -> LabeledBox | None:
    """Read a row; None if it has no box, for an image without objects."""
    values = _box_values(row)
    if values is None:
        return None
    left, top, width, height = values
    across, down = factors
    box = (left * across, top * down, width * across, height * down)
    return LabeledBox(_first(row, LABEL) or ONLY_CLASS, box)


def _box_values(row: Row) -> Box | None:
    texts, are_corners = _box_texts(row)
    if not any(texts):
        return None
    try:
        first, second, third, fourth = map(float, texts)
    except ValueError as error:
        raise ValueError(f'a box must be four numbers ({error}), got the row {row}.') from error
    if are_corners:
        return first, second, third - first, fourth - second
    return first, second, third, fourth


def _box_texts(row: Row) -> tuple[list[str], bool]:
    """Find the values of the box, and whether the last two are a corner."""
    for names in CORNERS + SIZES:
        if all(name in row for name in names):
            return [row[name] for name in names], names in CORNERS
    return re.split('[, ]+', row.get(IN_ONE, '').strip('[]() ')), False


def _are_shares(rows: Sequence[Row]) -> bool:
    """Tell whether all boxes are within the first pixel, and thus fractions of the image."""
    values = [box for row in rows if (box := _box_values(row)) is not None]
    return bool(values) and max(max(left + w, top + h) for left, top, w, h in values) <= 1


def _merge(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """Merge the boxes of an image that is named in several files or spellings."""
    merged: dict[Path, LabeledImage] = {}
    for image in images:
        known = merged.get(image.path)
        if known is not None and known.boxes != image.boxes:
            image = replace(image, boxes=[*known.boxes, *image.boxes])
        merged[image.path] = image
    return list(merged.values())

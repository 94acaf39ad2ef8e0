"""CSV: one row per box, with one of the common headers, separators and encodings."""

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mmdet_detnet.data.images import HEAD_SIZE, ImageFiles, name_split, read_head, read_image
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    UNKNOWN_SIZE,
    Box,
    LabeledBox,
    LabeledImage,
    LabeledSet,
    Problems,
    box_of_corners,
    known_size,
    outline_box,
)

from .class_names import decode, find_class_names, find_id_table, is_class_id, read_flag

SEPARATORS = ',;\t|'
# Headers in lower case without punctuation, by their role; the first one found counts.
ROLES = {
    'image': 'filename imagename imagepath filepath path image imageid img file imagefile imgname '
    'imgpath frame framename patientid',
    'label': 'classname labelname categoryname class label category name objectclass objectname '
    'objecttype type species annotationtag cls classid labelid categoryid classidx classindex '
    'classnumber',
    'split': 'split set subset mluse usage partition phase',
    'width': 'imagewidth imgwidth width',
    'height': 'imageheight imgheight height',
    'crowd': 'iscrowd isgroupof crowd difficult isdifficult',
}
# Before the headers of boxes, as in Roi.X1.
PREFIX = re.compile('^(?:roi|bndbox|bbox|box|bb)(?=.)')
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
SIDES = (('w', 'h'), ('width', 'height'))
CENTERS = (('xcenter', 'ycenter'), ('centerx', 'centery'), ('cx', 'cy'), ('xc', 'yc'))
STARTS = (('x', 'y'), ('xmin', 'ymin'), ('left', 'top'), ('x1', 'y1'))
# The kind of a box, and its headers.
BOXES: list[tuple[str, tuple[str, ...]]] = [
    ('corners', CORNERS),
    ('corners', ('x1', 'y1', 'x2', 'y2')),
    ('corners', ('x0', 'y0', 'x1', 'y1')),
    ('corners', ('left', 'top', 'right', 'bottom')),
    (
        'corners',
        ('upperleftcornerx', 'upperleftcornery', 'lowerrightcornerx', 'lowerrightcornery'),
    ),
    *(('center', (*start, *sides)) for start, sides in product(CENTERS, SIDES)),
    *(('size', (*start, *sides)) for start, sides in product(STARTS, SIDES)),
    ('via', ('regionshapeattributes', 'regionattributes')),
    ('bbox', ('bbox',)),
    ('bbox', ('boundingbox',)),
]
# Tables without headers: of makesense.ai, keras-retinanet, SKU-110K, and AutoML with and without
# the split.
AUTOML = ('path', 'class', 'xmin', 'ymin', '-', '-', 'xmax', 'ymax', '-', '-')
HEADLESS = (
    ('class', 'x', 'y', 'w', 'h', 'path', 'imagewidth', 'imageheight'),
    ('path', *CORNERS, 'class'),
    ('path', *CORNERS, 'class', 'imagewidth', 'imageheight'),
    ('split', *AUTOML),
    AUTOML,
)
ONLY_CLASS = 'object'
LINE_SHOWN = 100  # letters
FLOAT_ID = re.compile(r'^(\d+)\.0$')
# Fractions of the image beyond its border by no more are those of rounded boxes.
ROUNDING = 0.01


class Table(NamedTuple):
    """A table of boxes."""

    rows: list[tuple[int, list[str]]]  # with their line numbers
    columns: dict[str, int]  # numbers of those of the image, and perhaps of other ROLES
    box_kind: str  # as in BOXES
    box_columns: list[int]
    unused: list[str]  # headers of other columns
    decimal_point: str
    is_utf_8: bool  # or UTF-16


class Row(NamedTuple):
    """A row: a box, or an image without one."""

    image: str
    split: str
    label: str
    box: Box | None
    is_crowd: bool
    size: tuple[int, int]  # of the image


def recognizes(file: Path, images: ImageFiles) -> bool:
    """Return whether a table has columns for images and boxes."""
    head = read_head(file)
    if len(head) == HEAD_SIZE:
        head = head.rpartition(b'\n')[0]
    return _parse_table(head, file) is not None


def explain(file: Path) -> str:
    """Say why a table is not recognized."""
    first = read_head(file).decode('utf-8', errors='replace').partition('\n')[0].strip()
    return (
        f'The first line of {file.name} must name columns of images and boxes, such as '
        f'filename,xmin,ymin,xmax,ymax,class; it is {first[:LINE_SHOWN]!r}.'
    )


def read(files: Sequence[Path], images: ImageFiles, options: Options) -> LabeledSet:
    """Read tables, with splits from a column or from the names of files and folders.

    Corners are positions from 0, in pixels or as fractions of the image.
    """
    problems = images.problems
    merged: dict[Path, LabeledImage] = {}
    rows_of: dict[Path, list[Row]] = {}
    for file in files:
        table = _parse_table(file.read_bytes(), file)
        if table is None:
            raise ValueError(f'{file} begins with rows of boxes, but others have no numbers there.')
        if not table.is_utf_8:
            text = 'tables that are not in UTF-8. Read as Latin-1: look at the names of the classes'
            problems.warn(f'not-utf-8: {text}.', file.name)
        rows = _name_classes([*_read_rows(table, file, problems)], file, options, images)
        rows_of[file] = rows
        images.claim((file, name) for name in {row.image for row in rows})
    for file, rows in rows_of.items():
        # All boxes are in the first two pixels, or else fractions, perhaps rounded above 1.
        ends = [(box[0] + box[2], box[1] + box[3], *row.size) for row in rows if (box := row.box)]
        are_fractions = bool(ends) and max(max(right, bottom) for right, bottom, *_ in ends) <= 2
        # A width or height may also be that of the box.
        fits = [right <= width and bottom <= height for right, bottom, width, height in ends]
        has_sizes = not are_fractions and 2 * sum(fits) > len(fits)
        by_image: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_image[row.image].append(row)
        for name, of_image in by_image.items():
            path = images.find(file, name)
            if path is None:
                continue
            size = read_image(path, decode=False).size if are_fractions else None
            boxes = [
                LabeledBox(row.label, _scale(row.box, size, name, problems), row.is_crowd)
                for row in of_image
                if row.box
            ]
            named = {name_split(row.split or file.stem) for row in of_image} - {''}
            if len(named) > 1:
                raise ValueError(f'{file}: {name} is in two splits: {", ".join(sorted(named))}.')
            split = ''.join(named) or images.name_split(path, file)
            own_size = of_image[0].size if has_sizes else UNKNOWN_SIZE
            new = LabeledImage(path, boxes, file, split, own_size)
            merged[path] = _merge(merged[path], new, problems) if path in merged else new
    return LabeledSet([*merged.values()])


def _merge(known: LabeledImage, new: LabeledImage, problems: Problems) -> LabeledImage:
    """Merge the objects of an image that is in several tables, or in several spellings in one."""
    if known.split and new.split and known.split != new.split:
        places = f'{known.split} in {known.source}, and {new.split} in {new.source}'
        raise ValueError(f'{new.path} is in two splits: {places}.')
    others = [box for box in new.boxes if box not in known.boxes]
    if others and known.boxes and known.source != new.source:
        text = 'image-in-two-tables: images with other boxes in an earlier table. All are used.'
        problems.warn(text, f'{new.path.name} ({new.source})')
    return replace(new, boxes=[*known.boxes, *others], split=known.split or new.split)


def _parse_table(content: bytes, file: Path) -> Table | None:
    """Find the separator and the columns of a table; None if it has none of boxes."""
    try:
        text, is_utf_8 = decode(content), True
    except UnicodeDecodeError:
        text, is_utf_8 = content.decode('latin-1'), False
    for separator in SEPARATORS:
        stream = io.StringIO(text, newline='')
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True)
        try:
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
        except csv.Error as error:
            raise ValueError(f'{file} is not a valid CSV file: {error}.') from error
        headless = _find_headless([row for _, row in rows])
        first = rows[0][1] if rows else []
        headers = headless or [_simplify(cell) for cell in first]
        numbers = {name: number for number, name in reversed([*enumerate(headers)])}
        # Of width and bbox_width, the latter is the box's.
        numbers |= {PREFIX.sub('', name): n for name, n in numbers.items() if PREFIX.match(name)}
        found = {role: [numbers[n] for n in ROLES[role].split() if n in numbers] for role in ROLES}
        columns = {role: each[0] for role, each in found.items() if each}
        kind, names = next((pair for pair in BOXES if {*pair[1]} <= numbers.keys()), ('', ()))
        if 'image' in columns and kind:
            box_columns = [numbers[name] for name in names]
            columns = {role: n for role, n in columns.items() if n not in box_columns}
            used = {*columns.values(), *box_columns}
            unused = [cell for n, cell in enumerate(headers) if n not in used]
            point = '.' if separator == ',' else ','
            body = rows if headless else rows[1:]
            return Table(body, columns, kind, box_columns, unused, point, is_utf_8)
    return None


def _simplify(header: str) -> str:
    return re.sub('[^a-z0-9]', '', header.lower())


def _find_headless(rows: Sequence[list[str]]) -> Sequence[str]:
    """Find the headers of a table that has none; return none if it is not in ``HEADLESS``."""
    for names in HEADLESS:
        numbers = [n for n, name in enumerate(names) if name in (*CORNERS, *'xywh')]
        boxes = [[row[n].strip() for n in numbers] for row in rows if len(row) == len(names)]
        # Rows of images without objects are empty behind the image.
        cells = [cell for box in boxes if any(box) for cell in box]
        if not rows or len(rows[0]) != len(names) or not cells:
            continue
        # The image of makesense.ai is in the place of SKU-110K's class.
        if names[0] == 'class' and (Path(rows[0][0]).suffix or not Path(rows[0][5]).suffix):
            continue
        return names if all(map(_is_number, cells)) else ()
    return ()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _read_rows(table: Table, file: Path, problems: Problems) -> Iterator[Row]:
    if 'label' not in table.columns and table.box_kind != 'via':
        text = f'table-without-class: tables without a class. Each box is {ONLY_CLASS!r}.'
        problems.warn(text, f'{file.name} (other columns: {table.unused})')
    # A row may end early.
    padding = [''] * (1 + max(*table.columns.values(), *table.box_columns))
    for line, cells in table.rows:
        place = f'{file.name}, line {line}'
        padded = [*map(str.strip, cells), *padding]
        cell = defaultdict(str, {role: padded[n] for role, n in table.columns.items()})
        try:
            if not cell['image']:
                raise ValueError(f'no image in the row {cells}.')
            # pandas makes floats of ids if one is missing.
            label = FLOAT_ID.sub(r'\1', cell['label'])
            size = known_size(*(FLOAT_ID.sub(r'\1', cell[side]) for side in ('width', 'height')))
            texts = [padded[number] for number in table.box_columns]
            if table.box_kind == 'via':
                box, label = _read_via(*texts)
                if box is None and texts[0] != '{}':
                    problems.warn('shape-without-area: points and lines. Skipped.', place)
            else:
                box = _read_box(texts, table, place, problems)
            if box and not label and ('label' in table.columns or table.box_kind == 'via'):
                text = f'row-without-class: rows with a box, but without a class: {ONLY_CLASS!r}.'
                problems.warn(text, place)
            is_crowd = read_flag(cell['crowd'], 'a crowd')
        except ValueError as error:
            raise ValueError(f'{file}, line {line}: {error}') from error
        yield Row(cell['image'], cell['split'], label or ONLY_CLASS, box, is_crowd, size)


def _read_box(texts: Sequence[str], table: Table, place: str, problems: Problems) -> Box | None:
    """Read the box of a row; None if it has none, for an image without objects."""
    if table.box_kind == 'bbox':
        texts = re.split('[,; ]+', texts[0].strip('[](){} '))
    # Empty, or as pandas writes it.
    if {text.lower() for text in texts} <= {'', 'nan'}:
        return None
    try:
        a, b, c, d = (float(text.replace(table.decimal_point, '.')) for text in texts)
    except ValueError as error:
        raise ValueError(f'a box must be four numbers ({error}), got {texts}.') from error
    if not all(map(math.isfinite, (a, b, c, d))):
        raise ValueError(f'a box must be four finite numbers, got {texts}.')
    if table.box_kind == 'corners':
        return box_of_corners((a, b, c, d), place, problems)
    return (a - c / 2, b - d / 2, c, d) if table.box_kind == 'center' else (a, b, c, d)


def _read_via(shape_text: str, attributes_text: str) -> tuple[Box | None, str]:
    """Read a region of the VGG Image Annotator; no box if it has no area."""
    try:
        shape, attributes = json.loads(shape_text or '{}'), json.loads(attributes_text or '{}')
        label = _find_via_label(attributes)
        match shape.get('name'):
            case 'rect':
                x, y, width, height = (float(shape[key]) for key in ('x', 'y', 'width', 'height'))
                return (x, y, width, height), label
            case 'circle' | 'ellipse':
                x, y = shape['cx'], shape['cy']
                a, b = shape.get('rx', shape.get('r')), shape.get('ry', shape.get('r'))
                angle = shape.get('theta', 0)
                cos, sin = math.cos(angle), math.sin(angle)
                across, down = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
                return (x - across, y - down, 2 * across, 2 * down), label
            case 'polygon':
                xs, ys = shape['all_points_x'], shape['all_points_y']
                return outline_box([*zip(xs, ys, strict=True)]), label
        return None, label
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'damaged region {shape_text}, {attributes_text} ({error!r}).') from error


def _find_via_label(attributes: dict[str, object]) -> str:
    """Find the class among the attributes of a region: the only one, or one named like a class."""
    names = {_simplify(key): key for key in attributes}
    key = next((names[name] for name in ROLES['label'].split() if name in names), None)
    if key is None and len(attributes) > 1:
        raise ValueError(f'none of the attributes {[*attributes]} is named class or label')
    value = attributes[key] if key else next(iter(attributes.values()), '')
    # A checkbox has the options that are chosen.
    options = value if isinstance(value, dict) else {value: True}
    chosen = [name for name, is_on in options.items() if is_on]
    if len(chosen) > 1:
        raise ValueError(f'several classes {chosen}')
    return str(chosen[0]).strip() if chosen else ''


def _name_classes(rows: list[Row], file: Path, options: Options, images: ImageFiles) -> list[Row]:
    """Replace ids of classes by the names nearest to the table."""
    ids = {row.label for row in rows if row.box}
    if not all(map(is_class_id, ids)):
        return rows
    names = find_class_names(file.parent, options.folder, images.folder).names
    if not ids <= names.keys():
        names = find_id_table(ids, file.parent, options.folder)
    if not names:
        text = 'class-id-as-name: ids of classes without names. The ids are the names.'
        images.problems.warn(text, *(f'{label} ({file.name})' for label in sorted(ids)))
        return rows
    return [row._replace(label=names.get(row.label, row.label)) for row in rows]


def _scale(box: Box, size: tuple[int, int] | None, name: str, problems: Problems) -> Box:
    """Scale fractions to the size of the image; without a size, the box is in pixels."""
    if size is None:
        return box
    left, top = box[0], box[1]
    right, bottom = left + box[2], top + box[3]
    if -ROUNDING <= min(left, top) and max(right, bottom) <= 1 + ROUNDING:
        clipped = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
        if clipped != (left, top, right, bottom):
            text = 'fraction-clipped: boxes a little beyond the border of their image. Clipped.'
            problems.warn(text, f'{name} ({box})')
        left, top, right, bottom = clipped
    width, height = size
    return left * width, top * height, (right - left) * width, (bottom - top) * height

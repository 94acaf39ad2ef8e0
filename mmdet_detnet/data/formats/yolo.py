"""YOLO: a text file per image, and a YAML file with classes and splits."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_detnet.data.image_files import SPLITS, ImageFiles, show_progress
from mmdet_detnet.data.images import read_header
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import (
    Found,
    LabeledBox,
    LabeledImage,
    LabeledSet,
    list_warnings,
)

from .class_names import ClassNames, find_class_names, read_text

NUM_LINES = 5
# The first line of a text file that may be damaged, but is not a text.
NUMBERS = re.compile(r'[-+.,;\s\deE]*\d[-+.,;\s\deE]*')
MESSAGES = {
    'doubled-split': 'identical splits in the YAML file, such as one folder for train and val. '
    'Split again.',
    'rotated-box': 'files whose rows have eight numbers: rotated boxes, or polygons of four '
    'corners. Their enclosing boxes are used.',
    'undecodable-image': 'unreadable images. Skipped.',
    'image-not-labeled': 'test images, of which none has a text file. In no split. To detect in '
    'them: mmdet-detnet predict.',
}


class Rows(NamedTuple):
    """The objects of a text file.

    Attributes:
        labels: Name of each object's class.
        values: The numbers after the class of each object.
    """

    labels: list[str]
    values: list[list[float]]


def recognizes(file: Path, images: ImageFiles) -> bool:
    """Tell whether a text file has lines of a class number and positions.

    If it has the name of an image, numbers are enough; what is wrong is said when they are read.
    """
    try:
        lines = [line for line in read_text(file).splitlines() if line.strip()]
    except ValueError:
        return False
    if lines and file.stem in images and NUMBERS.fullmatch(lines[0]):
        return True
    return bool(lines) and all(map(_is_row, lines[:NUM_LINES]))


def _is_row(line: str) -> bool:
    number, *values = line.split()
    try:
        return number.isdecimal() and len(values) >= 4 and bool([*map(float, values)])
    except ValueError:
        return False


def read(files: Sequence[Path], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotations, with splits from the YAML files or the names of folders.

    As in YOLO, an image without a text file is background.
    """
    found: Found = defaultdict(list)
    folders = dict.fromkeys(file.parent for file in files)
    names = {each: find_class_names(each, options.folder, images.folder) for each in folders}
    places = _find_splits(names.values(), images, found)
    rows: dict[Path, tuple[Path, Rows]] = {}
    for file in _add_unrecognized(files, folders, images):
        path = images.find(file, file.stem)
        if path in rows:
            raise ValueError(f'{path} has two files of annotations: {rows[path][0]} and {file}.')
        if path is not None:
            rows[path] = file, _read_rows(file, names[file.parent])
    has_polygons = any(len(v) not in (4, 8) for _, each in rows.values() for v in each.values)
    result = []
    for path in show_progress(images.paths, desc='reading image sizes', unit='image'):
        state = read_header(path)
        if state.error:
            found['undecodable-image'].append(f'{path.name} ({state.error})')
            continue
        source, (labels, values) = rows.get(path, (None, Rows([], [])))
        if not has_polygons and any(len(each) == 8 for each in values):
            found['rotated-box'].append(str(source))
        boxes = [_scale(*row, state.size) for row in zip(labels, values, strict=True)]
        real = path.parent.resolve()
        keys = (path, real / path.name, real, *real.parents)
        split = next((places[key] for key in keys if key in places), '')
        result.append(LabeledImage(path, boxes, source, split or images.name_split(path)))
    tested = [image for image in result if image.split == 'test']
    if tested and not any(image.source for image in tested):
        found['image-not-labeled'] = [str(image.path) for image in tested]
        result = [image for image in result if image.split != 'test']
    classes = dict.fromkeys(name for each in names.values() for name in each.names.values())
    # Folders below one file of names have the same problems with it.
    of_names = {str(problem): problem for each in names.values() for problem in each.problems}
    problems = [*of_names.values(), *list_warnings(MESSAGES, found)]
    return LabeledSet(result, [*classes], problems + images.problems(unused_are_background=True))


def _add_unrecognized(
    files: Sequence[Path], folders: Mapping[Path, None], images: ImageFiles
) -> Iterator[Path]:
    """List text files of images that do not look like rows, too, so that what is wrong is said."""
    yield from files
    known = {*files}
    for folder in folders:
        for file in sorted(folder.glob('*.txt')):
            if file not in known and file.stem in images and file.stat().st_size:
                yield file


def _read_rows(file: Path, names: ClassNames) -> Rows:
    if not names.names:
        raise ValueError(
            f'{file.parent} has no names of classes for YOLO, nor has a folder above it: write '
            'data.yaml with a line such as names: [cat, dog].'
        )
    keypoints = names.description.get('kpt_shape')
    try:
        num_keypoints = keypoints[0] * keypoints[1] if keypoints else 0
    except (IndexError, KeyError, TypeError):
        raise ValueError(
            f'{names.yaml_file}: kpt_shape must be two numbers, got {keypoints!r}.'
        ) from None
    result = Rows([], [])
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *texts = line.split()
            result.labels.append(_find_name(label, names))
            result.values.append(_read_values(texts, num_keypoints))
        except ValueError as error:
            shape = f'four numbers and keypoints as in kpt_shape {keypoints}'
            raise ValueError(
                f'{file}, line {number}: {line!r} must be the number of a class and '
                f'{shape if keypoints else "four numbers or the corners of a polygon"}, as '
                f'fractions of the image ({error}).'
            ) from error
    return result


def _find_name(number: str, names: ClassNames) -> str:
    if not (number.isascii() and number.isdecimal()) or str(int(number)) not in names.names:
        numbers = sorted(map(int, names.names))
        raise ValueError(
            f'the class {number} is none of {numbers[0]} to {numbers[-1]} in {names.file}'
        )
    return names.names[str(int(number))]


def _read_values(texts: Sequence[str], num_keypoints: int) -> list[float]:
    """Read a box (center, width and height) or polygon; keypoints are dropped."""
    values = [*map(float, texts)]
    if num_keypoints:
        if len(values) not in (4, 4 + num_keypoints):
            raise ValueError(f'{len(values)} numbers, not {4 + num_keypoints}')
        values = values[:4]
    elif len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f'{len(values)} numbers')
    # Also of keypoints without kpt_shape, where 2 stands for visible.
    outside = [value for value in values if not -1 < value < 2]
    if outside:
        raise ValueError(f'{outside[0]:g} is no fraction; keypoints need kpt_shape in data.yaml')
    return values


def _scale(label: str, values: Sequence[float], size: tuple[int, int]) -> LabeledBox:
    width, height = size
    if len(values) == 4:
        x, y, across, down = values
        left, top = (x - across / 2) * width, (y - down / 2) * height
        return LabeledBox(label, (left, top, across * width, down * height))
    points = zip(values[::2], values[1::2], strict=True)
    return LabeledBox.of_polygon(label, [(x * width, y * height) for x, y in points])


def _find_splits(found_names: Any, images: ImageFiles, found: Found) -> dict[Path, str]:
    """Find the folders or images of each split in the YAML files; none if two are identical."""
    places: dict[Path, str] = {}
    descriptions = {each.yaml_file: each.description for each in found_names if each.yaml_file}
    for file, description in descriptions.items():
        path = description.get('path')
        root = file.parent / path if isinstance(path, str) else file.parent
        root = root if root.is_dir() else file.parent
        own: dict[Path, str] = {}
        for split in SPLITS:
            entries = description.get(split) or []
            for entry in entries if isinstance(entries, list) else [entries]:
                if not isinstance(entry, str):
                    raise ValueError(f'{file}: {split} must be a path or a list of paths.')
                for place in _resolve(root, entry, images):
                    found['doubled-split'] += [entry] if place in own else []
                    own.setdefault(place, split)
        places |= own
    return {} if found['doubled-split'] else places


def _resolve(root: Path, entry: str, images: ImageFiles) -> list[Path]:
    """Resolve an entry to a folder, or to the images in a list, perhaps of another machine."""
    place = Path(root, entry).resolve()
    if place.suffix != '.txt' or not place.is_file():
        return [place]
    lines = filter(None, map(str.strip, read_text(place).splitlines()))
    named = (images.candidates(place, line) for line in lines)
    return [paths[0] for paths in named if len(paths) == 1]

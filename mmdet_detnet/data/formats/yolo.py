"""YOLO: a text file per image, and a YAML file with classes and splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mmdet_detnet.data.files import SPLITS, ImageFiles
from mmdet_detnet.data.images import read_header
from mmdet_detnet.data.problems import Problem, problem_of
from mmdet_detnet.data.records import LabeledBox, LabeledImage, LabeledSet

from .shapes import read_polygon

NAME_LISTS = ('classes.txt', 'obj.names', '_darknet.labels')
NUM_LINES = 5


def recognizes(file: Path) -> bool:
    """Tell whether a text file has lines of a class number and positions.

    Args:
        file: A text file.
    """
    try:
        lines = [line for line in file.read_text(encoding='utf-8').splitlines() if line.strip()]
    except UnicodeDecodeError:
        return False
    return bool(lines) and all(map(_is_row, lines[:NUM_LINES]))


def _is_row(line: str) -> bool:
    number, *values = line.split()
    try:
        return number.isdecimal() and len(values) >= 4 and bool([*map(float, values)])
    except ValueError:
        return False


def read(files: Sequence[Path], images: ImageFiles) -> LabeledSet:
    """Read annotations. As in YOLO, an image without a text file is background.

    Args:
        files: Text files with rows.
        images: The images.

    Returns:
        The data set, with splits from the YAML file or the folder names.

    Raises:
        ValueError: If a row is wrong or a class has no name.
    """
    yaml_file, description = _read_yaml([images.folder, *files[0].parents])
    names = _class_names(description, [images.folder, *files[0].parents])
    places, problems = _find_splits(yaml_file, description)
    rows = {images.find(file, file.stem): file for file in files}
    result = []
    unreadable: list[str] = []
    for path in images.paths:
        state = read_header(path)
        if state.error:
            unreadable.append(f'{path.name} ({state.error})')
            continue
        boxes = _read_rows(rows[path], state.size, names) if path in rows else []
        split = next((places[p] for p in (path, *path.parents) if p in places), '')
        split = split or images.name_split(path)
        result.append(LabeledImage(path, boxes, split))
    message = 'unreadable images. Skipped.'
    problems += problem_of('undecodable-image', message, unreadable, is_warning=True)
    return LabeledSet(result, names, problems + images.problems(unused_are_background=True))


def _read_rows(file: Path, size: tuple[int, int], names: list[str]) -> list[LabeledBox]:
    boxes, by_number = [], dict(enumerate(names))
    for number, line in enumerate(file.read_text(encoding='utf-8').splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *values = line.split()
            boxes.append(_read_row(by_number[int(label)], [*map(float, values)], size))
        except (KeyError, ValueError) as error:
            raise ValueError(
                f'{file}, line {number}: {line!r} must be a class from 0 to {len(names) - 1} with '
                '4 numbers (center, width and height) or the corners of a polygon, as fractions of '
                f'the image ({error}).'
            ) from error
    return boxes


def _read_row(label: str, values: list[float], size: tuple[int, int]) -> LabeledBox:
    width, height = size
    if len(values) == 4:
        x, y, across, down = values
        left, top = (x - across / 2) * width, (y - down / 2) * height
        return LabeledBox(label, (left, top, across * width, down * height))
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f'{len(values)} numbers')
    pairs = zip(values[::2], values[1::2], strict=True)
    points = [(x * width, y * height) for x, y in pairs]
    return read_polygon(label, points)


def _read_yaml(folders: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """Find the file with the class names, in the first folder that has one."""
    for folder in folders:
        for file in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
            try:
                content = yaml.safe_load(file.read_text(encoding='utf-8'))
            except (yaml.YAMLError, ValueError, RecursionError) as error:
                raise ValueError(f'{file} is not a valid YAML file: {error}.') from error
            if isinstance(content, dict) and 'names' in content:
                return file, content
    return folders[0], {}


def _class_names(description: dict[str, Any], folders: Sequence[Path]) -> list[str]:
    names = description.get('names')
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and all(isinstance(name, str | int | float) for name in names):
        return [str(name) for name in names]
    for file in (folder / name for folder in folders for name in NAME_LISTS):
        if file.is_file():
            lines = file.read_text(encoding='utf-8').splitlines()
            return [line.strip() for line in lines if line.strip()]
    raise ValueError(
        f'{folders[0]} has no names of classes for YOLO: write data.yaml with a line such as '
        'names: [cat, dog].'
    )


def _find_splits(
    yaml_file: Path, description: dict[str, Any]
) -> tuple[dict[Path, str], list[Problem]]:
    """Find the folders or images of each split, and report identical splits."""
    path = description.get('path')
    root = yaml_file.parent / path if isinstance(path, str) else yaml_file.parent
    root = root if root.is_dir() else yaml_file.parent
    places: dict[Path, str] = {}
    doubled = []
    for split in SPLITS:
        entries = description.get(split) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str):
                raise ValueError(f'{yaml_file}: {split} must be a path or a list of paths.')
            for place in _resolve(root, entry):
                doubled += [str(entry)] if place in places else []
                places.setdefault(place, split)
    message = 'identical splits in the YAML file, such as one folder for train and val.'
    problems = problem_of('doubled-split', f'{message} Split again.', doubled, is_warning=True)
    return ({} if doubled else places), problems


def _resolve(root: Path, entry: str) -> list[Path]:
    """Resolve an entry to a folder, or to the images in a list."""
    place = Path(root, entry).resolve()
    if place.suffix != '.txt' or not place.is_file():
        return [place]
    lines = place.read_text(encoding='utf-8').splitlines()
    return [Path(root, line.strip()).resolve() for line in lines if line.strip()]

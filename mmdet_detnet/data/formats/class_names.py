"""Texts of annotations: flags, and the names of classes that only have numbers or ids."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmdet_detnet.data.records import Found

# Lists with a name in each line, whose number is the class.
LISTS = ('classes.txt', '*.names', '_darknet.labels')
# Of Open Images, such as /m/01yrx.
MACHINE_ID = re.compile(r'/[a-z]/\w+')
YOLO_KEYS = {'names', 'kpt_shape', 'train', 'val'}
# Spellings of flags in tables and XML files.
FLAGS = {'': False, '0': False, '1': True, 'false': False, 'true': True, 'no': False, 'yes': True}
MESSAGES = {
    'other-class-names': 'files with other class names than one nearer to the annotations. Not '
    'used.',
    'class-name-twice': 'names of several class numbers. These become one class.',
}


@dataclass(frozen=True)
class ClassNames:
    """Class names that are found for a folder of annotations.

    Attributes:
        names: The names by the number or id of the class.
        file: The file with the names; None if there is none.
        description: Content of the nearest YAML file for YOLO.
        yaml_file: That file.
        found: Culprits of ``MESSAGES``.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    description: Mapping[str, Any] = field(default_factory=dict)
    yaml_file: Path | None = None
    found: Found = field(default_factory=dict)


def is_class_id(label: str) -> bool:
    """Tell whether a label is a number or an id of Open Images instead of a name."""
    return label.isdecimal() or MACHINE_ID.fullmatch(label) is not None


def find_class_names(folder: Path, root: Path, images: Path) -> ClassNames:
    """Find the class names in a folder of annotations, or else in the nearest folder above it.

    The search ends at the folder above ``root``, that of the dataset, and goes on in ``images``.

    Raises:
        ValueError: If a file is damaged, or two files in one folder name the classes differently.
    """
    found, description, yaml_file = [], {}, None
    for place in dict.fromkeys([*_places(folder, root), images]):
        for file, content in _read_descriptions(place):
            if yaml_file is None:
                yaml_file, description = file, content
        sources = [*_read_names(place)]
        for file, names in sources[1:]:
            if names != sources[0][1]:
                raise ValueError(
                    f'{sources[0][0]} and {file} name the classes differently. Remove one of them.'
                )
        found += sources[:1]
    if not found:
        return ClassNames({}, None, description, yaml_file)
    nearest, names = found[0]
    others = [f'{file} (used: {nearest})' for file, each in found[1:] if each != names]
    twice = [f'{name} ({nearest})' for name, n in Counter(names.values()).items() if n > 1]
    culprits = {'other-class-names': others, 'class-name-twice': twice}
    return ClassNames(names, nearest, description, yaml_file, culprits)


def find_id_table(ids: set[str], folder: Path, root: Path) -> dict[str, str]:
    """Find the nearest table, in a folder or above it, with the names of all given ids."""
    for place in _places(folder, root):
        for file in sorted(place.glob('*.csv')):
            names = _read_table(file)
            if ids <= names.keys():
                return names
    return {}


def _places(folder: Path, root: Path) -> list[Path]:
    """List a folder and those above it, up to the one above the dataset."""
    top = root.absolute().parent
    places = [each for each in (folder, *folder.parents) if each.absolute().is_relative_to(top)]
    return places or [folder, folder.parent]


def read_text(file: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark; raise ValueError for others."""
    try:
        return file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{file} is not UTF-8 text: {error}.') from error


def read_flag(text: str, name: str) -> bool:
    """Read a flag, such as of a crowd; none is false."""
    value = FLAGS.get(text.strip().lower())
    if value is None:
        raise ValueError(f'{name} must be one of {[*FLAGS]}, got {text!r}.')
    return value


def _read_descriptions(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read the YAML files for YOLO in a folder."""
    for file in sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')]):
        try:
            content = yaml.safe_load(read_text(file))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f'{file} is not a valid YAML file: {error}.') from error
        if isinstance(content, dict) and YOLO_KEYS & content.keys():
            yield file, content


def _read_names(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Read the class names of each file in a folder that has some."""
    for file, content in _read_descriptions(folder):
        names = content.get('names')
        pairs = [*names.items()] if isinstance(names, dict) else [*enumerate(_as_list(names))]
        are_plain = all(isinstance(name, str | int | float) for _, name in pairs)
        if pairs and are_plain and all(str(number).isdecimal() for number, _ in pairs):
            yield file, {str(int(number)): str(name) for number, name in pairs}
    for pattern in LISTS:
        for file in sorted(folder.glob(pattern)):
            lines = enumerate(read_text(file).rstrip().splitlines())
            # An empty line is a number without a name.
            yield file, {str(number): line.strip() for number, line in lines if line.strip()}


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _read_table(file: Path) -> dict[str, str]:
    """Read a table of two columns, an id and a name in either order; else return no names."""
    with file.open(newline='', encoding='utf-8-sig', errors='replace') as stream:
        reader = csv.reader(stream)
        try:
            rows = [next(reader, []) for _ in range(2)]
            if {len(row) for row in rows if row} != {2}:
                return {}
            rows += [row for row in reader if row]
        except csv.Error:
            return {}
    rows = [[cell.strip() for cell in row] for row in rows if row]
    if any(len(row) != 2 for row in rows):
        return {}
    for key in (0, 1):
        # The first row may be a header.
        body = rows if is_class_id(rows[0][key]) else rows[1:]
        if body and all(is_class_id(row[key]) and not is_class_id(row[1 - key]) for row in body):
            return {row[key]: row[1 - key] for row in body}
    return {}

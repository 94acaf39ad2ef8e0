"""Texts of annotations: flags, and the names of classes that only have numbers or ids."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# Lists with a name in each line, whose number is the class.
LISTS = ('classes.txt', '[!.]*.names', '_darknet.labels')
# Of Open Images, such as /m/01yrx.
MACHINE_ID = re.compile(r'/[a-z]/\w+')
YOLO_KEYS = {'names', 'kpt_shape', 'train', 'val'}
# Other YAML files may be damaged, or not for this reader.
YOLO_KEY = re.compile(
    rb'(?:^|[{,\xbf\xfe\xff])[\s"\'{]*(?:names|kpt_shape|train|val)["\']?\s*:', re.MULTILINE
)
# Spellings of flags in tables and XML files: pandas makes floats, and Open Images has -1 for
# unknown.
FLAGS = {'': False, '0': False, '1': True, 'false': False, 'true': True, 'no': False, 'yes': True}
FLAGS |= {'-1': False, 'nan': False, '0.0': False, '1.0': True, 'unspecified': False}


class ClassNames(NamedTuple):
    """Class names that are found for a folder of annotations."""

    names: Mapping[str, str]  # by the number or id of the class
    file: Path | None  # with the names; None if there is none
    others: list[str]  # files with other names, and what was used instead
    description: Mapping[str, Any]  # content of the nearest YAML file for YOLO
    yaml_file: Path | None  # that file


def is_class_id(label: str) -> bool:
    """Return whether a label is a number or an id of Open Images instead of a name."""
    return label.isdecimal() or MACHINE_ID.fullmatch(label) is not None


def find_class_names(folder: Path, root: Path, images: Path) -> ClassNames:
    """Find the class names in a folder of annotations, or else in the nearest folder above it.

    The search ends at the folder above ``root``, that of the dataset, and goes on in ``images``.

    Raises:
        ValueError: If a file is damaged, or two files in one folder name the classes differently.
    """
    found: dict[Path, dict[str, str]] = {}
    described: dict[Path, dict[str, Any]] = {}
    for place in dict.fromkeys([*_places(folder, root), images]):
        # Next to data.yaml may be a model's, or Ultralytics' args.yaml, with fewer of the keys.
        of_place = sorted(_read_descriptions(place), key=lambda pair: -len(YOLO_KEYS & {*pair[1]}))
        described |= of_place
        sources = [*_read_names(place)]
        for file, names in sources[1:]:
            if names != sources[0][1]:
                raise ValueError(
                    f'{sources[0][0]} and {file} name the classes differently. Remove one of them.'
                )
        found |= sources[:1]
    nearest, names = next(iter(found.items()), (None, {}))
    others = [f'{file} (used: {nearest})' for file, each in found.items() if each != names]
    yaml_file, description = next(iter(described.items()), (None, {}))
    return ClassNames(names, nearest, others, description, yaml_file)


def find_id_table(ids: set[str], folder: Path, root: Path) -> dict[str, str]:
    """Find the nearest table, in a folder or above it, with the names of all given ids."""
    for place in _places(folder, root):
        # FiftyOne writes the names of Open Images into metadata/classes.csv.
        for file in sorted([*place.glob('[!.]*.csv'), *place.glob('metadata/[!.]*.csv')]):
            names = _read_table(file)
            if ids <= names.keys():
                return names
    return {}


def _places(folder: Path, root: Path) -> list[Path]:
    """List a folder and those above it, up to the one above the dataset."""
    top = root.absolute().parent
    places = [each for each in (folder, *folder.parents) if each.absolute().is_relative_to(top)]
    return places or [folder, folder.parent]


def decode(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark, which PowerShell and Excel write."""
    if content.startswith((b'\xff\xfe', b'\xfe\xff')):
        return content.decode('utf-16', errors='replace')
    return content.decode('utf-8-sig')


def read_text(file: Path) -> str:
    """Read a text file as :func:`decode` does; raise ValueError for other encodings."""
    try:
        return decode(file.read_bytes())
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
    for file in sorted([*folder.glob('[!.]*.yaml'), *folder.glob('[!.]*.yml')]):
        if not YOLO_KEY.search(file.read_bytes().replace(b'\0', b'')):  # of UTF-16
            continue
        try:
            # All scalars are texts: the names yes and 01 are not meant as True and 1.
            content = yaml.load(read_text(file), yaml.BaseLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f'{file} is not a valid YAML file: {error}.') from error
        if isinstance(content, dict) and YOLO_KEYS & content.keys():
            yield file, content


def _read_names(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Read the class names of each file in a folder that has some."""
    for file, content in _read_descriptions(folder):
        names = content.get('names')
        if isinstance(names, list):
            names = dict(enumerate(names))
        numbers = names if isinstance(names, dict) else {}
        if numbers and all(str(n).isdecimal() and isinstance(numbers[n], str) for n in numbers):
            yield file, {str(int(number)): name for number, name in numbers.items()}
    for pattern in LISTS:
        for file in sorted(folder.glob(pattern)):
            lines = enumerate(read_text(file).rstrip().splitlines())
            # An empty line is a number without a name.
            yield file, {str(number): line.strip() for number, line in lines if line.strip()}


def _read_table(file: Path) -> dict[str, str]:
    """Read a table of two columns, an id and a name in either order; else return no names."""
    rows = []
    with file.open(newline='', encoding='utf-8-sig', errors='replace') as stream:
        try:
            for row in filter(None, csv.reader(stream)):
                if len(row) != 2:
                    return {}
                rows.append([cell.strip() for cell in row])
        except csv.Error:
            return {}
    for key in (0, 1):
        # The first row may be a header.
        body = rows if rows and is_class_id(rows[0][key]) else rows[1:]
        if body and all(is_class_id(row[key]) and not is_class_id(row[1 - key]) for row in body):
            return {row[key]: row[1 - key] for row in body}
    return {}

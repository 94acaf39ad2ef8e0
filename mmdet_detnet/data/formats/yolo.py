"""YOLO: a text file per image, and a YAML file with classes and splits."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet_detnet.data.images import ImageFiles, read_image, show_progress
from mmdet_detnet.data.options import Options
from mmdet_detnet.data.records import SPLITS, LabeledBox, LabeledImage, LabeledSet, Problems

from .class_names import ClassNames, find_class_names, read_text

NUM_LINES = 5
ROW = re.compile(r'\s*\d+(?:\s+[-+.\deE]+){4,}\s*')
# Of many wrong label files, so many are listed.
NUM_LISTED = 5
# Of the images of each split, where no YAML file has any.
SPLIT_LISTS = {'train': ['train.txt'], 'val': ['val.txt', 'valid.txt'], 'test': ['test.txt']}
# What YAML files have for no images, read as text.
NULLS = {'', '~', 'null', 'Null', 'NULL'}
# The first line of a text file that may be damaged, but is not a text. VisDrone's has eight numbers
# between commas.
NUMBERS = re.compile(r'(?!(?:\d+,){7})[-+.,;\s\deE]*\d[-+.,;\s\deE]*')

# The name of the class of an object, and the numbers after the class.
Row = tuple[str, list[float]]


def recognizes(file: Path, images: ImageFiles) -> bool:
    """Return whether a text file has lines of a class number and positions.

    If it has the name of an image, it may be empty, or have any numbers; what is wrong with them is
    said when they are read.
    """
    try:
        lines = [line for line in read_text(file).splitlines() if line.strip()]
    except ValueError:
        return False
    if file.stem in images and (not lines or NUMBERS.fullmatch(lines[0])):
        return True
    return bool(lines) and all(map(ROW.fullmatch, lines[:NUM_LINES]))


def read(files: Sequence[Path], images: ImageFiles, options: Options) -> LabeledSet:
    """Read annotations, with splits from YAML files, lists or the names of folders.

    As in YOLO, an image without a text file is background.
    """
    folders = dict.fromkeys(file.parent for file in files)
    names = {each: find_class_names(each, options.folder, images.folder) for each in folders}
    _warn_of_names(names.values(), images.problems)
    places = _find_splits(names.values(), images)
    # Also text files of images that do not look like rows, so that what is wrong is said.
    texts = (file for folder in folders for file in sorted(folder.glob('*.txt')))
    others = [file for file in texts if file.stem in images]
    rows = _read_files(dict.fromkeys([*files, *others]), names, images)
    lengths = {len(values) for _, of_image in rows.values() for _, values in of_image}
    has_polygons = not lengths <= {4, 8}
    result = []
    for path in show_progress(images.paths, desc='reading image sizes', unit='image'):
        state = read_image(path, decode=False)
        if state.error:
            text = 'undecodable-image: unreadable images. Skipped.'
            images.problems.warn(text, f'{path.name} ({state.error})')
            continue
        source, of_image = rows.get(path, (None, []))
        if not has_polygons and any(len(values) == 8 for _, values in of_image):
            text = 'rotated-box: files with rows of eight numbers. Their enclosing boxes are used.'
            images.problems.warn(text, source)
        boxes = [_scale(row, state.size) for row in of_image]
        real = path.parent.resolve()
        keys = (path, real / path.name, real, *real.parents)
        of_folder = images.name_split(path, source)
        split = next((places[key] for key in keys if key in places), of_folder)
        result.append(LabeledImage(path, boxes, source, split, state.size))
    tested = [image for image in result if image.split == 'test']
    if not any(image.boxes for image in tested):
        text = 'image-not-labeled: test images, all without a box. In no split.'
        images.problems.warn(text, *(image.path for image in tested))
        result = [image for image in result if image.split != 'test']
    classes = dict.fromkeys(name for each in names.values() for name in each.names.values())
    return LabeledSet(result, [*classes])


def _warn_of_names(found_names: Iterable[ClassNames], problems: Problems) -> None:
    # Folders below one file of names have the same problems with it.
    others = dict.fromkeys(text for each in found_names for text in each.others)
    text = 'other-class-names: files with other class names than a nearer file. Not used.'
    problems.warn(text, *others)
    text = 'class-name-twice: names of several class numbers. These become one class.'
    for file, names in {each.file: each.names for each in found_names}.items():
        counts = Counter(names.values())
        problems.warn(text, *(f'{name} ({file})' for name in counts if counts[name] > 1))


def _read_files(
    files: Iterable[Path], names: Mapping[Path, ClassNames], images: ImageFiles
) -> dict[Path, tuple[Path, list[Row]]]:
    """Read the file and the objects of each image that has a file.

    Raises:
        ValueError: If rows are wrong; lists the first ones of several files.
    """
    rows: dict[Path, tuple[Path, list[Row]]] = {}
    wrong: list[list[str]] = []
    files = [*files]
    images.claim((file, file.stem) for file in files)
    for file in files:
        path = images.find(file, file.stem)
        if path in rows:
            raise ValueError(
                f'{path} has two files of annotations: {rows[path][0]} and {file}. Name the folder '
                'of the right ones with --annotations.'
            )
        if path is not None:
            of_file, errors = _read_rows(file, names[file.parent])
            rows[path] = file, of_file
            wrong += [errors] if errors else []
    if wrong:
        count = sum(map(len, wrong))
        lines = [errors[0] for errors in wrong[:NUM_LISTED]]
        more = f'In all, {count} rows of {len(wrong)} files are wrong.'
        raise ValueError('\n'.join([*lines, more] if count > 1 else lines))
    return rows


def _read_rows(file: Path, names: ClassNames) -> tuple[list[Row], list[str]]:
    """Read the objects of a file, and describe the rows that are wrong."""
    if not names.names:
        folders = f'{file.parent} and the folders above it have'
        lacking = f'{names.yaml_file} has' if names.yaml_file else folders
        raise ValueError(
            f'{lacking} no names of classes for YOLO: write data.yaml with a line such as '
            'names: [cat, dog].'
        )
    shape, num_values = 'four numbers or the corners of a polygon', 0
    if keypoints := names.description.get('kpt_shape'):
        try:
            num_keypoints, length = map(int, keypoints)
        except (TypeError, ValueError):
            message = f'{names.yaml_file}: kpt_shape must be two numbers, got {keypoints!r}.'
            raise ValueError(message) from None
        shape = f'four numbers and {num_keypoints} keypoints of {length}'
        num_values = num_keypoints * length
    rows, errors = [], []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *texts = line.split()
            rows.append((_find_name(label, names), _read_values(texts, num_values)))
        except ValueError as error:
            errors.append(
                f'{file}, line {number}: {line!r} must be the number of a class and {shape}, as '
                f'fractions of the image ({error}).'
            )
    return rows, errors


def _find_name(number: str, names: ClassNames) -> str:
    if not (number.isascii() and number.isdecimal()) or str(int(number)) not in names.names:
        numbers = sorted(map(int, names.names))
        raise ValueError(
            f'the class {number} is not one of {numbers[0]} to {numbers[-1]} in {names.file}'
        )
    return names.names[str(int(number))]


def _read_values(texts: Sequence[str], of_keypoints: int) -> list[float]:
    """Read a box (center, width and height) or polygon; so many values of keypoints are dropped."""
    values = [*map(float, texts)]
    if of_keypoints:
        if len(values) not in (4, 4 + of_keypoints):
            raise ValueError(f'{len(values)} numbers, not {4 + of_keypoints}')
        values = values[:4]
    elif len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f'{len(values)} numbers')
    # Also of keypoints without kpt_shape, where 2 stands for visible.
    outside = [value for value in values if not -1 < value < 2]
    if outside:
        raise ValueError(f'{outside[0]:g} is not a fraction; keypoints need kpt_shape in data.yaml')
    return values


def _scale(row: Row, size: tuple[int, int]) -> LabeledBox:
    (label, values), (width, height) = row, size
    if len(values) == 4:
        x, y, across, down = values
        left, top = (x - across / 2) * width, (y - down / 2) * height
        return LabeledBox(label, (left, top, across * width, down * height))
    points = zip(values[::2], values[1::2], strict=True)
    return LabeledBox.of_polygons(label, [(x * width, y * height) for x, y in points])


def _find_splits(found_names: Iterable[ClassNames], images: ImageFiles) -> dict[Path, str]:
    """Find the folders or images of each split; none if those of training are in another, too.

    They are in the YAML files, or in lists next to the names of the classes, as darknet has them.
    """
    places: dict[Path, str] = {}
    doubled: list[str] = []
    descriptions: dict[Path, Mapping[str, Any]] = {}
    for each in found_names:
        if each.yaml_file and each.description.keys() & {*SPLITS}:
            descriptions[each.yaml_file] = each.description
        elif each.file:
            descriptions[each.file] = SPLIT_LISTS
    for file, description in descriptions.items():
        root = file.parent / str(description.get('path', ''))
        root = root if root.is_dir() else file.parent
        own: dict[Path, str] = {}
        for split in SPLITS:
            entries = description.get(split, [])
            for entry in entries if isinstance(entries, list) else [entries]:
                if not isinstance(entry, str):
                    raise ValueError(f'{file}: {split} must be a path or a list of paths.')
                for place in _resolve(root, entry, images) if entry not in NULLS else []:
                    # Validation images may be the test images, too.
                    doubled += [entry] if own.get(place) == 'train' != split else []
                    own.setdefault(place, split)
        places |= own
    text = 'doubled-split: folders or images of training and another split. Split again.'
    images.problems.warn(text, *doubled)
    return {} if doubled else places


def _resolve(root: Path, entry: str, images: ImageFiles) -> list[Path]:
    """Resolve an entry to a folder, or to the images in a list, perhaps of another machine."""
    parts = Path(entry.replace('\\', '/')).parts
    # Of a path on another machine, the last parts may exist here.
    places = [root.joinpath(*parts[number:]) for number in range(max(1, len(parts) - 1))]
    place = next((each for each in places if each.exists()), places[0]).resolve()
    if place.suffix != '.txt' or not place.is_file():
        return [place]
    lines = filter(None, map(str.strip, read_text(place).splitlines()))
    named = (images.candidates(place, line) for line in lines)
    return [paths[0] for paths in named if len(paths) == 1]

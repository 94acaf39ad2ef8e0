"""Convert a Pascal VOC folder to a COCO annotation file, for any classes.

- VOC counts pixels from 1, and both corners belong to the box: ``xmin`` 1 and ``xmax`` 3 become the
  left edge 0 and the width 3. With ``zero_based``, corners are positions from 0 (width 2).
- An object that is ``difficult`` becomes a crowd, as in mmdet's own converter: detectors are not
  trained on it, and neither gain nor lose by detecting it.
- A box without width or height is dropped, and named. All else that is wrong is an error.

mmdet's own converter only supports the classes, folders and integers of VOC 2007 and 2012.
"""

import math
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
from PIL import Image
from tqdm import tqdm

from .findings import NUM_EXAMPLES

# Spellings of the difficult flag.
FLAGS = {'0': False, '1': True, 'false': False, 'true': True, 'no': False, 'yes': True}
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')

Content = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class VocObject:
    """An object of an annotation.

    Attributes:
        name: Its class.
        corners: Left, top, right and bottom as in the file, in pixels.
        is_difficult: Whether it is marked as difficult.
    """

    name: str
    corners: tuple[float, ...]
    is_difficult: bool


def convert_voc(
    folder: Path,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    zero_based: bool = False,
) -> tuple[Content, list[str]]:
    """Convert one split.

    Args:
        folder: Folder with ``Annotations`` and ``JPEGImages``.
        split: Name of a list in ``ImageSets/Main``; None for all annotations.
        classes: Class names. None for all names in ``Annotations``, sorted, which are the same for
            every split.
        zero_based: Whether corners are positions from 0 instead of pixels counted from 1.

    Returns:
        The content of the annotation file, and descriptions of the dropped boxes.

    Raises:
        FileNotFoundError: If a list, an annotation or an image is missing.
        ValueError: If a list or an annotation is damaged, a class is unknown or an image ambiguous.
    """
    names = _list_names(folder, split)
    images = _find_images(folder / 'JPEGImages', names)
    classes = classes or _find_classes(folder / 'Annotations')
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes, start=1)]
    content: Content = {'images': [], 'annotations': [], 'categories': categories}
    dropped: list[str] = []
    for image_id, name in enumerate(tqdm(names, desc='converting', unit='image'), start=1):
        file = folder / 'Annotations' / f'{name}.xml'
        root = parse_annotation(file)
        width, height = _read_size(root, images[name])
        content['images'].append(
            {'id': image_id, 'file_name': images[name].name, 'width': width, 'height': height}
        )
        for voc_object in read_objects(root, file):
            if voc_object.name not in classes:
                raise ValueError(f'{file}: unknown class {voc_object.name!r}, not in {classes}.')
            annotation = _make_annotation(voc_object, image_id, classes, zero_based)
            if annotation is None:
                dropped.append(f'{file}: {voc_object.name} {voc_object.corners}')
            else:
                annotation['id'] = len(content['annotations']) + 1
                content['annotations'].append(annotation)
    return content, dropped


def _make_annotation(
    voc_object: VocObject, image_id: int, classes: Sequence[str], zero_based: bool
) -> dict[str, Any] | None:
    """Make a COCO annotation without its id; None if the box has no width or no height."""
    first = 0 if zero_based else 1
    left, top, right, bottom = voc_object.corners
    width, height = right - left + first, bottom - top + first
    if min(width, height) <= 0:
        return None
    return {
        'image_id': image_id,
        'category_id': classes.index(voc_object.name) + 1,
        'bbox': [left - first, top - first, width, height],
        'area': width * height,
        'iscrowd': int(voc_object.is_difficult),
    }


def _list_names(folder: Path, split: str | None) -> list[str]:
    if split is None:
        source = folder / 'Annotations'
        names = sorted(file.stem for file in source.glob('*.xml'))
    else:
        source = folder / 'ImageSets' / 'Main' / f'{split}.txt'
        names = [line.strip() for line in source.read_text().splitlines() if line.strip()]
    if not names:
        raise ValueError(f'{source} has no annotations.')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'{source} has {repeated[0]!r} twice.')
    return names


def _find_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the image of each annotation, with any suffix."""
    suffixes = Image.registered_extensions()
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in suffixes:
            continue
        if file.stem in found:
            raise ValueError(f'Two images with the same name: {found[file.stem]} and {file}.')
        found[file.stem] = file
    for name in names:
        if name not in found:
            raise FileNotFoundError(f'No image {folder / name}, with any suffix.')
    return found


def _find_classes(folder: Path) -> list[str]:
    files = sorted(folder.glob('*.xml'))
    return sorted(
        {each.name for file in files for each in read_objects(parse_annotation(file), file)}
    )


def parse_annotation(file: Path) -> ET.Element:
    """Read the XML of an annotation.

    Args:
        file: An XML file.

    Returns:
        Its root element.

    Raises:
        ValueError: If it is not valid XML.
    """
    try:
        return ET.parse(file).getroot()
    except ET.ParseError as error:
        raise ValueError(f'{file} is not valid XML: {error}.') from error


def read_objects(root: ET.Element, file: Path) -> Iterator[VocObject]:
    """Read the objects of an annotation.

    Args:
        root: Its root element.
        file: Where it is from, for messages.

    Yields:
        Each object.

    Raises:
        ValueError: If one lacks its name or a corner, or has a wrong value.
    """
    for element in root.findall('object'):
        try:
            yield VocObject(
                name=_text(element, 'name'),
                corners=tuple(_number(element, f'bndbox/{corner}') for corner in CORNERS),
                is_difficult=_flag(element, 'difficult'),
            )
        except ValueError as error:
            raise ValueError(f'{file}: {error}') from error


def _number(element: ET.Element, path: str) -> float:
    text = _text(element, path)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'<{path}> must be a finite number, got {text!r}.')
    return value


def _flag(element: ET.Element, path: str) -> bool:
    text = element.findtext(path, '').strip().lower() or '0'
    if text not in FLAGS:
        raise ValueError(f'<{path}> must be one of {list(FLAGS)}, got {text!r}.')
    return FLAGS[text]


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path, '').strip()
    if not text:
        raise ValueError(f'an object has no <{path}>.')
    return text


def _read_size(root: ET.Element, image: Path) -> tuple[int, int]:
    """Read width and height; some tools omit them or write 0."""
    texts = [root.findtext(f'size/{side}', '').strip() for side in ('width', 'height')]
    if all(text.isdecimal() and int(text) > 0 for text in texts):
        return int(texts[0]), int(texts[1])
    pixels = mmcv.imread(image)
    if pixels is None:
        raise ValueError(f'{image} cannot be read as an image, and its annotation has no size.')
    height, width = pixels.shape[:2]
    return width, height


def summarize(content: Content, dropped: Sequence[str]) -> str:
    """Summarize the conversion.

    Args:
        content: The annotation file.
        dropped: Descriptions of the dropped boxes.

    Returns:
        Lines of text.
    """
    annotations = content['annotations']
    difficult = sum(annotation['iscrowd'] for annotation in annotations)
    outside = sum(min(annotation['bbox'][:2]) < 0 for annotation in annotations)
    counts = Counter(annotation['category_id'] for annotation in annotations)
    lines = [f'images: {len(content["images"])}, boxes: {len(annotations)}, difficult: {difficult}']
    lines += [f'{counts[each["id"]]:8} {each["name"]}' for each in content['categories']]
    if dropped:
        lines.append(f'dropped, without width or height: {len(dropped)}, the first:')
        lines += [f'    {each}' for each in dropped[:NUM_EXAMPLES]]
    if outside:
        lines.append(
            f'boxes that start outside the image: {outside}. Do the annotations count from 0? '
            'Then convert them with --zero-based.'
        )
    return '\n'.join(lines)

"""Pascal VOC: an XML file per image, in any folders."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, iterparse

from mmdet_detnet.analysis.dataset.voc_to_coco import VocObject, parse_annotation, read_objects

from ..files import SPLITS, ImageFiles
from ..records import LabeledBox, LabeledImage, LabeledSet

LISTS = Path('ImageSets', 'Main')


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
    result = []
    for file in files:
        root = parse_annotation(file)
        boxes = [_to_box(each, 0 if zero_based else 1) for each in read_objects(root, file)]
        # The XML file has its image's name; <filename> may be from another machine.
        path = images.find(file, file.stem, root.findtext('filename', '').strip())
        if path is not None:
            split = lists.get(file.stem, '') or images.name_split(path)
            result.append(LabeledImage(path, boxes, split, _read_size(root)))
    return LabeledSet(result, findings=images.findings())


def _to_box(voc_object: VocObject, first: int) -> LabeledBox:
    left, top, right, bottom = voc_object.corners
    box = (left - first, top - first, right - left + first, bottom - top + first)
    return LabeledBox(voc_object.name, box, voc_object.is_difficult)


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

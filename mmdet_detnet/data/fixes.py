"""Repair images and boxes in copies; the user's files do not change."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import ImageFile

from mmdet_detnet.data.images import open_image, read_image
from mmdet_detnet.data.problems import Problem
from mmdet_detnet.files import OutputFolder

from .image_files import show_progress
from .records import Found, LabeledBox, LabeledImage, list_warnings

MESSAGES = {
    'fixed-image': 'truncated images, rewritten as far as they can be decoded.',
    'fixed-rotation': 'images whose boxes ignore the EXIF rotation, rewritten without it.',
    'fixed-size': 'images with a wrong size in the annotations. The size of the file is used.',
    'fixed-box': 'boxes across the border of their image, clipped.',
    'dropped-image': 'images that cannot be decoded. Skipped.',
    'dropped-box': 'boxes with less than a pixel inside their image. Skipped.',
}
# Minimum width and height of the boxes that CocoDataset retains, in pixels.
MIN_SIDE = 1


def fix_images(
    images: Sequence[LabeledImage], folder: Path, out: OutputFolder
) -> tuple[list[LabeledImage], list[Problem]]:
    """Repair images and boxes.

    Args:
        images: The images.
        folder: Folder that their names are relative to.
        out: Output folder; the copies are in a folder ``repaired`` in it.

    Returns:
        The usable images, and descriptions of the repairs.

    Raises:
        FileExistsError: If a file of the user's has the name of a copy.
    """
    found: Found = defaultdict(list)
    names = [image.path.relative_to(folder).as_posix() for image in images]
    copies = [f'repaired/{name}.png' for name in names]
    out.check(*copies)
    fixed = []
    rows = zip(images, names, copies, strict=True)
    for image, name, copy in show_progress(rows, 'repairing', len(images), unit='image'):
        usable = _fix_file(image, name, copy, out, found)
        if usable is not None:
            fixed.append(_fix_boxes(usable, name, found))
    return fixed, list_warnings(MESSAGES, found)


def _fix_file(
    image: LabeledImage, name: str, copy: str, out: OutputFolder, found: Found
) -> LabeledImage | None:
    state = read_image(image.path)
    if state.error:
        size = _write_copy(image.path, copy, out)
        if size is None:
            found['dropped-image'].append(f'{name} ({state.error})')
            return None
        found['fixed-image'].append(f'{name} ({state.error})')
        return replace(image, path=out.path(copy), size=size)
    if image.size in (None, state.size):
        return replace(image, size=state.size)
    with open_image(image.path) as file:
        is_unturned = file.size == image.size
    if is_unturned and _write_copy(image.path, copy, out):
        found['fixed-rotation'].append(name)
        return replace(image, path=out.path(copy))
    found['fixed-size'].append(f'{name} ({image.size} is {state.size})')
    return replace(image, size=state.size)


def _write_copy(source: Path, copy: str, out: OutputFolder) -> tuple[int, int] | None:
    """Write the decodable pixels without EXIF data; None if there are none."""
    strict, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with open_image(source) as image:
            pixels = image.convert('RGB')
    # With a damaged file, decoders raise all kinds of errors.
    except Exception:
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
    pixels.info.clear()
    pixels.save(out.path(copy))
    return pixels.size


def _fix_boxes(image: LabeledImage, name: str, found: Found) -> LabeledImage:
    boxes = []
    for box in image.boxes:
        clipped = _clip(box, image.size)
        if min(clipped.box[2:]) < MIN_SIDE:
            found['dropped-box'].append(f'{name} ({box.label} {box.box})')
            continue
        if clipped is not box:
            found['fixed-box'].append(f'{name} ({box.label} {box.box})')
        boxes.append(clipped)
    return replace(image, boxes=boxes)


def _clip(box: LabeledBox, size: tuple[int, int] | None) -> LabeledBox:
    left, top, width, height = box.box
    right, bottom = left + width, top + height
    across, down = size or (right, bottom)
    corners = max(left, 0), max(top, 0), min(right, across), min(bottom, down)
    if corners == (left, top, right, bottom):
        return box
    new_left, new_top, new_right, new_bottom = corners
    return replace(box, box=(new_left, new_top, new_right - new_left, new_bottom - new_top))

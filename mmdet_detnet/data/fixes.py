"""Repair images and boxes in copies; the user's files do not change."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import ImageFile
from tqdm import tqdm

from mmdet_detnet.data.images import open_image, read_image
from mmdet_detnet.data.problems import Problem, problem_of

from .records import LabeledBox, LabeledImage

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

Found = dict[str, list[str]]


def fix_images(
    images: Sequence[LabeledImage], folder: Path, copies: Path
) -> tuple[list[LabeledImage], list[Problem]]:
    """Repair images and boxes.

    Args:
        images: The images.
        folder: Folder that their names are relative to.
        copies: Folder for repaired images.

    Returns:
        The usable images, and descriptions of the repairs.
    """
    found: Found = defaultdict(list)
    fixed = []
    for image in tqdm(images, desc='repairing', unit='image'):
        name = image.path.relative_to(folder)
        usable = _fix_file(image, name.as_posix(), copies / name.with_suffix('.png'), found)
        if usable is not None:
            fixed.append(_fix_boxes(usable, name.as_posix(), found))
    problems = [
        problem
        for check, message in MESSAGES.items()
        for problem in problem_of(check, message, found[check], is_warning=True)
    ]
    return fixed, problems


def _fix_file(image: LabeledImage, name: str, copy: Path, found: Found) -> LabeledImage | None:
    state = read_image(image.path)
    if state.error:
        size = _write_copy(image.path, copy)
        if size is None:
            found['dropped-image'].append(f'{name} ({state.error})')
            return None
        found['fixed-image'].append(f'{name} ({state.error})')
        return replace(image, path=copy, size=size)
    if image.size in (None, state.size):
        return replace(image, size=state.size)
    with open_image(image.path) as file:
        is_unturned = file.size == image.size
    if is_unturned and _write_copy(image.path, copy):
        found['fixed-rotation'].append(name)
        return replace(image, path=copy)
    found['fixed-size'].append(f'{name} ({image.size} is {state.size})')
    return replace(image, size=state.size)


def _write_copy(source: Path, copy: Path) -> tuple[int, int] | None:
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
    copy.parent.mkdir(parents=True, exist_ok=True)
    pixels.save(copy)
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

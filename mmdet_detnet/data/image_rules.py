"""Problems of image files, and repaired copies: the user's files do not change."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ImageFile

from mmdet_detnet.files import OutputFolder

from .images import THUMBNAIL, ImageState, open_image, read_image, show_progress
from .records import Found, LabeledBox, LabeledImage, Problem, list_warnings, problem_of

# Number of images whose values are read, and of values of each.
NUM_SAMPLED, VALUES_PER_IMAGE = 64, 10_000
# Fraction of the range of values below which the values are worth scaling.
SMALL_PART = 0.25
# OpenCV's flags for three channels with the depth of the file, as `color_type` in a pipeline.
ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
# Two pictures are the same if at most so many of the 64 bits of their hashes differ, and their
# thumbnails by so many gray levels on average.
MAX_BITS, MAX_LEVELS = 6, 4.0
# Thumbnails with a smaller standard deviation, in gray levels, are plain: equal, but no picture.
PLAIN = 2.0
# Minimum width and height of the boxes that CocoDataset retains, in pixels.
MIN_SIDE = 1
REPAIRS = {
    'fixed-image': 'truncated images, rewritten as far as they can be decoded.',
    'fixed-rotation': 'images whose boxes ignore the EXIF rotation, rewritten without it.',
    'fixed-size': 'images with a wrong size in the annotations. The size of the file is used.',
    'fixed-box': 'boxes across the border of their image, clipped.',
    'dropped-image': 'images that cannot be decoded. Skipped.',
    'dropped-box': 'boxes with less than a pixel inside their image. Skipped.',
}


def sample(items: Sequence, number: int) -> Sequence:
    """Choose at most ``number`` items, evenly spaced."""
    return items[:: max(1, -(-len(items) // number))]


def check_images(
    images: Sequence[dict[str, Any]], states: Sequence[ImageState], folder: Path
) -> list[Problem]:
    """Find missing and damaged images, and sizes that differ from those in their records."""
    missing, broken, other_size = [], [], []
    for image, state in zip(images, states, strict=True):
        name, expected = image['file_name'], (image['width'], image['height'])
        if state.is_missing:
            missing.append(name)
        elif state.error:
            broken.append(f'{name} ({state.error})')
        elif state.size != expected:
            is_turned = state.size == expected[::-1]
            reason = ' (mmdet applies the EXIF rotation)' if is_turned else ''
            other_size.append(
                f'{name} is {state.size[0]} x {state.size[1]}, not {expected[0]} x {expected[1]}'
                f'{reason}'
            )
    return [
        *problem_of('missing-image', f'images that are not in {folder}. Training stops.', missing),
        *problem_of(
            'undecodable-image',
            'damaged image files. Training stops or uses made-up pixels.',
            broken,
        ),
        *problem_of(
            'image-size',
            'images whose size differs from the annotations. Their boxes may be misplaced.',
            other_size,
        ),
    ]


def fix_images(
    images: Sequence[LabeledImage], folder: Path, out: OutputFolder
) -> tuple[list[LabeledImage], list[Problem]]:
    """Repair images in copies, and their boxes.

    Args:
        images: The images.
        folder: Folder that their names are relative to.
        out: Output folder; the copies are in a folder ``repaired`` in it.

    Returns:
        The usable images, and descriptions of the repairs.
    """
    found: Found = defaultdict(list)
    names = [image.path.relative_to(folder).as_posix() for image in images]
    out.check(*(f'repaired/{name}.png' for name in names))
    fixed = []
    rows = zip(images, names, strict=True)
    for image, name in show_progress(rows, 'repairing', len(images), unit='image'):
        usable = _fix_file(image, name, out, found)
        if usable is not None:
            boxes = [*_fix_boxes(usable, name, found)]
            fixed.append(replace(usable, boxes=boxes))
    return fixed, list_warnings(REPAIRS, found)


def _fix_file(
    image: LabeledImage, name: str, out: OutputFolder, found: Found
) -> LabeledImage | None:
    copy, state = f'repaired/{name}.png', read_image(image.path)
    if state.error:
        size = _write_copy(image.path, copy, out)
        found['fixed-image' if size else 'dropped-image'].append(f'{name} ({state.error})')
        return replace(image, path=out.path(copy), size=size) if size else None
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


def _fix_boxes(image: LabeledImage, name: str, found: Found) -> Iterator[LabeledBox]:
    """Clip boxes at the border of their image; drop those of which less than a pixel remains."""
    for box in image.boxes:
        left, top, width, height = box.box
        right, bottom = left + width, top + height
        across, down = image.size or (right, bottom)
        corners = max(left, 0), max(top, 0), min(right, across), min(bottom, down)
        sides = corners[2] - corners[0], corners[3] - corners[1]
        is_inside = corners == (left, top, right, bottom)
        if min((width, height) if is_inside else sides) < MIN_SIDE:
            found['dropped-box'].append(f'{name} ({box.label} {box.box})')
        elif is_inside:
            yield box
        else:
            found['fixed-box'].append(f'{name} ({box.label} {box.box})')
            yield replace(box, box=(*corners[:2], *sides))


@dataclass(frozen=True)
class SmallValues:
    """Images whose values use a small part of their range, such as 12 bits of 16.

    ``LoadImageFromFile`` makes 8 bits of 16 by dropping the lower ones: of 12-bit values, 16 gray
    levels remain.

    Attributes:
        low: Value to become 0.
        high: Value to become 255.
        largest: Largest value of the file format.
        images: Names of some of the images.
        is_mixed: Whether other images have fewer bits, so that one scale does not fit all.
    """

    low: float
    high: float
    largest: float
    images: list[str]
    is_mixed: bool = False

    def __str__(self) -> str:
        return f'the values of the images are {self.low:g} to {self.high:g} of {self.largest:g}'

    @property
    def transform(self) -> dict:
        """The transform that scales the values, after ``LoadImageFromFile``."""
        std = round((self.high - self.low) / 255, 4)
        return dict(type='Normalize', mean=[self.low] * 3, std=[std] * 3, to_rgb=False)

    def problems(self) -> list[Problem]:
        """Say what is lost, and what to change in a config."""
        if self.is_mixed:
            remedy = 'Other images have 8 bits: convert all to 8 bits.'
        else:
            options = ', '.join(f'{key}={value!r}' for key, value in self.transform.items())
            load = f"dict(type='LoadImageFromFile', color_type={ANY_DEPTH})"
            remedy = f'Start all pipelines with {load}, dict({options}).'
        message = f'{self}, of which mmdet scales the whole range to 255. {remedy}'
        return problem_of('values-use-small-part', message, self.images, self.largest == 255)


def find_small_values(paths: Sequence[Path]) -> SmallValues | None:
    """Find the part of their range that some images use, if it is small.

    Those with the most bits count, and unreadable ones are skipped.
    """
    values: dict[np.dtype, list[np.ndarray]] = defaultdict(list)
    names: dict[np.dtype, list[str]] = defaultdict(list)
    for path in sample(paths, NUM_SAMPLED):
        content = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
        pixels = cv2.imdecode(content, ANY_DEPTH) if content.size else None
        if pixels is not None:
            values[pixels.dtype].append(sample(pixels.ravel(), VALUES_PER_IMAGE))
            names[pixels.dtype].append(path.name)
    if not values:
        return None
    kind = max(values, key=lambda each: each.itemsize)
    low, high = np.percentile(np.concatenate(values[kind]), (0.1, 99.9)).tolist()
    largest = np.iinfo(kind).max if kind.kind == 'u' else 255
    if not 0 < high - low < SMALL_PART * largest:
        return None
    for bits in (8, 10, 12, 14):
        whole = 2**bits - 1
        if whole < largest and SMALL_PART * whole <= high - low and high <= whole and low >= 0:
            low, high = 0, whole
            break
    return SmallValues(low, high, largest, names[kind], is_mixed=len(values) > 1)


def find_shared_pictures(splits: Mapping[str, Mapping[Path, np.ndarray | None]]) -> list[Problem]:
    """Find pictures in two splits: the same file, or one that is resized or encoded again.

    Compares hashes of 64 bits (pHash: signs of the lowest frequencies of the cosine transform), and
    where these agree, the thumbnails.

    Args:
        splits: For the name of each split, its images with their thumbnails, None for those that
            were not decoded.
    """
    hashed = {name: _hash_all(pictures) for name, pictures in splits.items()}
    names = list(splits)
    pairs = [
        f'{first} ({one}) and {second} ({other})'
        for number, one in enumerate(names)
        for other in names[number + 1 :]
        for first, second in [
            *((path.name, path.name) for path in splits[one] if path in splits[other]),
            *_same_pictures(*hashed[one], *hashed[other]),
        ]
    ]
    message = (
        'pictures that are in two splits, the same or nearly. Results on such images are too good.'
    )
    return problem_of('picture-in-two-splits', message, pairs, is_warning=True)


def _hash_all(
    pictures: Mapping[Path, np.ndarray | None],
) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Return paths, thumbnails and hashes of the pictures that are decoded and not plain."""
    paths = [path for path, each in pictures.items() if each is not None and each.std() >= PLAIN]
    thumbnails = np.array([pictures[path] for path in paths], np.int16)
    thumbnails = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)
    angles = np.pi / THUMBNAIL * np.outer(np.arange(8), np.arange(THUMBNAIL) + 0.5)
    lowest = np.cos(angles) @ thumbnails @ np.cos(angles).T
    frequencies = lowest.reshape(-1, 64)
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return paths, thumbnails, np.packbits(signs, axis=1)


def _same_pictures(
    first_paths: list[Path],
    first: np.ndarray,
    first_hashes: np.ndarray,
    second_paths: list[Path],
    second: np.ndarray,
    second_hashes: np.ndarray,
) -> Iterator[tuple[str, str]]:
    num_ones = np.array([value.bit_count() for value in range(256)], np.uint8)
    for path, thumbnail, bits in zip(first_paths, first, first_hashes, strict=True):
        distances = num_ones[second_hashes ^ bits].sum(axis=1)
        for index in np.flatnonzero(distances <= MAX_BITS):
            is_same = np.abs(second[index] - thumbnail).mean() <= MAX_LEVELS
            if is_same and second_paths[index] != path:
                yield path.name, second_paths[index].name

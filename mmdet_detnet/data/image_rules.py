"""Problems of image files, and repaired copies: the user's files do not change."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFile

from mmdet_detnet.files import OutputFolder

from .annotation_rules import find_over_edge
from .images import MISSING, THUMBNAIL, ImageState, open_image, read_image, show_progress
from .records import UNKNOWN_SIZE, LabeledBox, LabeledImage, Problems

# Number of images whose values are read, and of values of each.
NUM_SAMPLED, VALUES_PER_IMAGE = 64, 10_000
# Fraction of the range of values below which the values are worth scaling.
SMALL_PART = 0.25
# OpenCV's flags for three channels with the depth of the file, as `color_type` in a pipeline.
ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
# Relative difference of sides, or their proportions, that are the same but for rounding.
ROUNDING = 0.02
# Two pictures are the same if at most so many of the 64 bits of their hashes differ, and their
# thumbnails by so many gray levels on average.
MAX_BITS, MAX_LEVELS = 6, 4.0
# Thumbnails with a smaller standard deviation, in gray levels, are plain: equal, but no picture.
PLAIN = 2.0


def sample(items: Sequence, number: int) -> Sequence:
    """Choose at most ``number`` items, evenly spaced."""
    return items[:: max(1, -(-len(items) // number))]


def check_images(
    images: Sequence[dict[str, Any]], states: Sequence[ImageState], folder: Path, problems: Problems
) -> None:
    """Find missing and damaged images, and sizes that differ from those in their records."""
    for image, state in zip(images, states, strict=True):
        name, expected = image['file_name'], (image['width'], image['height'])
        if state.error == MISSING:
            problems.add(f'missing-image: not in {folder}. Training stops.', [name])
        elif state.error:
            text = 'damaged image files. Training stops or uses made-up pixels.'
            problems.add(f'undecodable-image: {text}', [f'{name} ({state.error})'])
        elif state.size != expected:
            text = 'images whose size differs from the annotations. Their boxes may be misplaced.'
            is_turned = state.size == expected[::-1]
            reason = ' (swapped, as by EXIF, whose rotation mmdet applies)' if is_turned else ''
            found = '{} x {}, not {} x {}'.format(*state.size, *expected)
            problems.add(f'image-size: {text}', [f'{name} is {found}{reason}'])


def fix_images(
    images: Sequence[LabeledImage], folder: Path, out: OutputFolder, problems: Problems
) -> list[LabeledImage]:
    """Repair images below ``folder`` in copies, and their boxes; return the usable ones."""
    names = [image.path.relative_to(folder).as_posix() for image in images]
    out.check(*(f'repaired/{name}.png' for name in names))
    rows = show_progress(zip(images, names, strict=True), 'repairing', len(images), unit='image')
    usable = [(new, name) for old, name in rows if (new := _fix_file(old, name, out, problems))]
    boxes = [(*box.box, *image.size) for image, _ in usable for box in image.boxes]
    numbers = np.array(boxes, float).reshape(-1, 6)
    if find_over_edge(numbers[:, :4], numbers[:, 4:])[1]:
        # Clipped, they would be wrong, and the check would not find it.
        return [image for image, _ in usable]
    return [replace(x, boxes=[*_fix_boxes(x, name, problems)]) for x, name in usable]


def _fix_file(
    image: LabeledImage, name: str, out: OutputFolder, problems: Problems
) -> LabeledImage | None:
    state = read_image(image.path)
    if not state.error and image.size in (UNKNOWN_SIZE, state.size):
        return replace(image, size=state.size)
    pixels = _decode_partly(image.path)
    if state.error and pixels is None:
        text = 'dropped-image: images that cannot be decoded, or not in 8 bits. Skipped.'
        problems.warn(text, f'{name} ({state.error})')
        return None
    if pixels is None or not (state.error or pixels.size == image.size):
        across, down = (new / old for new, old in zip(state.size, image.size, strict=True))
        if abs(across / down - 1) < ROUNDING < abs(across - 1):
            # Resized after the annotation: the check will say so.
            return image
        text = 'images of another size than in the annotations. Their boxes stay, and may be wrong.'
        problems.warn(f'fixed-size: {text}', f'{name} ({image.size} is {state.size})')
        return replace(image, size=state.size)
    text = 'fixed-rotation: images whose boxes ignore the EXIF rotation, rewritten without it.'
    if state.error:
        text = 'fixed-image: images that OpenCV cannot read, rewritten as far as Pillow can.'
    problems.warn(text, f'{name} ({state.error})' if state.error else name)
    copy = out.path(f'repaired/{name}.png')
    pixels.save(copy)
    return replace(image, path=copy, size=pixels.size)


def _decode_partly(path: Path) -> Image.Image | None:
    """Decode what can be decoded, without the EXIF rotation; None if there is nothing."""
    strict, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with open_image(path) as image:
            # RGB would cut their values to 255.
            if image.mode[0] in 'IF':
                return None
            pixels = image.convert('RGB')
    # With a damaged file, decoders raise all kinds of errors.
    except Exception:
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
    pixels.info.clear()
    return pixels


def _fix_boxes(image: LabeledImage, name: str, problems: Problems) -> Iterator[LabeledBox]:
    for box in image.boxes:
        left, top, width, height = box.box
        right, bottom = left + width, top + height
        across, down = image.size
        corners = max(left, 0), max(top, 0), min(right, across), min(bottom, down)
        sides = corners[2] - corners[0], corners[3] - corners[1]
        is_inside = corners == (left, top, right, bottom)
        culprit = f'{name} ({box.label} {box.box})'
        if min((width, height) if is_inside else sides) < 1:
            text = 'dropped-box: boxes with less than a pixel inside their image. Skipped.'
            problems.warn(text, culprit)
        elif is_inside:
            yield box
        else:
            problems.warn('fixed-box: boxes across the border of their image, clipped.', culprit)
            yield replace(box, box=(*corners[:2], *sides))


@dataclass(frozen=True)
class SmallValues:
    """Images whose values use a small part of their range, such as 12 bits of 16.

    ``LoadImageFromFile`` makes 8 bits of 16 by dropping the lower ones: of 12-bit values, 16 gray
    levels remain.
    """

    low: float  # to become 0
    high: float  # to become 255
    largest: float  # of the file format
    images: list[str]
    is_mixed: bool = False  # whether other images have fewer bits, so that no scale fits all

    def __str__(self) -> str:
        return f'the values of the images are {self.low:g} to {self.high:g} of {self.largest:g}'

    @property
    def transform(self) -> dict:
        """The transform that scales the values, after ``LoadImageFromFile``."""
        std = round((self.high - self.low) / 255, 4)
        return dict(type='Normalize', mean=[self.low] * 3, std=[std] * 3, to_rgb=False)

    @property
    def code(self) -> str:
        """The transform as in a config."""
        return f'dict({", ".join(f"{key}={value!r}" for key, value in self.transform.items())})'

    def report(self, problems: Problems) -> None:
        """Say what is lost, and what to change in a config."""
        load = f"dict(type='LoadImageFromFile', color_type={ANY_DEPTH})"
        remedy = f'Start all pipelines with {load}, {self.code}.'
        if self.is_mixed:
            remedy = 'Other images have 8 bits: convert all to 8 bits.'
        text = f'{self}, of which mmdet scales the whole range to 255. {remedy}'
        problems.add(f'values-use-small-part: {text}', self.images, self.largest == 255)


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
    for whole in (2**bits - 1 for bits in (8, 10, 12, 14)):
        if whole < largest and SMALL_PART * whole <= high - low and high <= whole and low >= 0:
            low, high = 0, whole
            break
    return SmallValues(low, high, largest, names[kind], is_mixed=len(values) > 1)


def find_shared_pictures(splits: Mapping[str, Mapping[Path, np.ndarray | None]]) -> Problems:
    """Find pictures in two splits: the same file, or one that is resized or encoded again.

    Compares hashes of 64 bits (pHash: signs of the lowest frequencies of the cosine transform), and
    where these agree, the thumbnails, None for images that were not decoded.
    """
    problems = Problems()
    hashed = {name: _hash_all(pictures) for name, pictures in splits.items()}
    for one, other in combinations(splits, 2):
        pairs = [
            *((path.name, path.name) for path in splits[one] if path in splits[other]),
            *_same_pictures(hashed[one], hashed[other]),
        ]
        text = 'picture-in-two-splits: the same or nearly the same. Results are too good.'
        problems.warn(text, *(f'{first} ({one}) and {second} ({other})' for first, second in pairs))
    return problems


# Paths, thumbnails (N, 32, 32), and hashes (N, 64) of -1 and 1.
Hashed = tuple[list[Path], np.ndarray, np.ndarray]


def _hash_all(pictures: Mapping[Path, np.ndarray | None]) -> Hashed:
    """Hash the pictures that are decoded and not plain."""
    paths = [path for path, each in pictures.items() if each is not None and each.std() >= PLAIN]
    thumbnails = np.array([pictures[path] for path in paths], np.int16)
    thumbnails = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)
    angles = np.pi / THUMBNAIL * np.outer(np.arange(8), np.arange(THUMBNAIL) + 0.5)
    lowest = (np.cos(angles) @ thumbnails @ np.cos(angles).T).reshape(-1, 64)
    is_high = lowest > np.median(lowest, axis=1, keepdims=True)
    return paths, thumbnails, np.where(is_high, 1, -1).astype(np.float32)


def _same_pictures(first: Hashed, second: Hashed) -> Iterator[tuple[str, str]]:
    other_paths, others, other_hashes = second
    for path, thumbnail, bits in zip(*first, strict=True):
        # Of bits as -1 and 1, the product falls by 2 with each that differs.
        for index in np.flatnonzero(other_hashes @ bits >= bits.size - 2 * MAX_BITS):
            is_same = np.abs(others[index] - thumbnail).mean() <= MAX_LEVELS
            if is_same and other_paths[index] != path:
                yield path.name, other_paths[index].name

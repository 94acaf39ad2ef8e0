"""Image files: their size, damage, the range of their values, and pictures that occur twice."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image
from tqdm import tqdm

from .annotation_file import Record
from .problems import Problem, problem_of

# EXIF tag of the orientation, and its values that swap width and height.
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
# Formats that OpenCV reads as well. For others, Pillow may start a program: Ghostscript for EPS.
FORMATS = ('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')
# Datasets of at most so many images are decoded even if nobody asks for it.
SMALL_DATASET = 2000
# Number of images whose values are read, and of values of each.
NUM_SAMPLED, VALUES_PER_IMAGE = 64, 10_000
# Fraction of the range of values below which the values are worth scaling.
SMALL_PART = 0.25
# OpenCV's flags for three channels with the depth of the file, as `color_type` in a pipeline.
ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH

THUMBNAIL = 32  # pixels, height and width
# Two pictures are the same if at most so many of the 64 bits of their hashes differ, and their
# thumbnails by so many gray levels on average.
MAX_BITS, MAX_LEVELS = 6, 4.0
# Thumbnails with a smaller standard deviation, in gray levels, are plain: equal, but no picture.
PLAIN = 2.0


@dataclass(frozen=True)
class ImageState:
    """What a file of an image turned out to be.

    Attributes:
        is_missing: Whether the file does not exist.
        error: Error while reading it.
        size: Width and height as in mmdet, in pixels, if it was read.
        thumbnail: ``(32, 32)`` gray levels, if it was decoded.
    """

    is_missing: bool = False
    error: str = ''
    size: tuple[int, int] = (0, 0)
    thumbnail: np.ndarray | None = None


def open_image(path: Path) -> Image.Image:
    """Open an image with Pillow, whatever its name says, if it is in one of ``FORMATS``.

    Returns:
        The image; its pixels are not decoded.

    Raises:
        OSError: If it is missing, or no image in these formats.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no such file: {path}')
    return _open(path)


def _open(source: Path | io.BytesIO) -> Image.Image:
    Image.init()
    return Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])


def read_header(path: Path) -> ImageState:
    """Read the size of an image after its EXIF rotation, without decoding it."""
    return _read(path, decode=False)


def read_image(path: Path) -> ImageState:
    """Decode an image as mmdet does, and find out whether the file is complete."""
    return _read(path, decode=True)


def _read(path: Path, decode: bool) -> ImageState:
    try:
        if not decode:
            with open_image(path) as image:
                return ImageState(size=_turned_size(image))
        pixels = _decode(path)
        height, width = pixels.shape[:2]
        return ImageState(size=(width, height), thumbnail=_shrink(pixels))
    except FileNotFoundError:
        return ImageState(is_missing=True)
    # With a damaged file, decoders raise all kinds of errors.
    except Exception as error:
        return ImageState(error=str(error) or type(error).__name__)


def _turned_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # For a PNG file without EXIF data at its start, Pillow would decode all pixels to find some.
    has_exif = image.format != 'PNG' or 'exif' in image.info
    is_turned = has_exif and image.getexif().get(ORIENTATION, 1) in TURNED
    return (height, width) if is_turned else (width, height)


def _decode(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f'no such file: {path}')
    content = path.read_bytes()
    with _open(io.BytesIO(content)) as image:
        kind = image.format
    # OpenCV 4.8 makes up the pixels that a truncated JPEG lacks. In a complete one, the mark of the
    # end follows that of the last scan.
    if kind in ('JPEG', 'MPO') and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda'):
        raise ValueError('the file is truncated')
    pixels = mmcv.imfrombytes(content)
    if pixels is None:
        raise ValueError('OpenCV cannot decode it')
    return pixels


def _shrink(pixels: np.ndarray) -> np.ndarray:
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


def read_images(
    paths: Sequence[Path], decode: bool | None = None, num_workers: int | None = None
) -> list[ImageState]:
    """Read image files, with a progress bar.

    Args:
        paths: The files.
        decode: Whether to decode them instead of reading headers only, which misses damage and
            equal pictures; None to decode up to ``SMALL_DATASET``.
        num_workers: Number of images read at a time; None for one per core.
    """
    decode = len(paths) <= SMALL_DATASET if decode is None else decode
    # Decoders release Python's lock, so threads are enough.
    with ThreadPoolExecutor(num_workers or os.cpu_count()) as pool:
        states = pool.map(read_image if decode else read_header, paths)
        words = 'decoding' if decode else 'reading headers'
        return list(tqdm(states, total=len(paths), desc=words, unit='image'))


def sample(items: Sequence, number: int) -> Sequence:
    """Choose at most ``number`` items, evenly spaced."""
    return items[:: max(1, -(-len(items) // number))]


def check_images(
    images: Sequence[Record], states: Sequence[ImageState], folder: Path
) -> list[Problem]:
    """Find missing and damaged images, and sizes that differ from the annotations.

    Args:
        images: Records of images.
        states: Their files, as read.
        folder: Folder that their ``file_name`` is relative to.
    """
    missing, broken, other_size = [], [], []
    for image, state in zip(images, states, strict=True):
        name = image['file_name']
        if state.is_missing:
            missing.append(name)
        elif state.error:
            broken.append(f'{name} ({state.error})')
        elif state.size != (image['width'], image['height']):
            other_size.append(_describe_sizes(image, state.size))
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


def _describe_sizes(image: Record, size: tuple[int, int]) -> str:
    expected = (image['width'], image['height'])
    text = f'{image["file_name"]} is {size[0]} x {size[1]}, not {expected[0]} x {expected[1]}'
    if size == expected[::-1]:
        text += ' (mmdet applies the EXIF rotation)'
    return text


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
    """Read the values of some images, and find out whether they use a small part of their range.

    Args:
        paths: The files; unreadable ones are skipped.

    Returns:
        The part that the images with the most bits use; None if it is a large one.
    """
    values: dict[np.dtype, list[np.ndarray]] = {}
    names: dict[np.dtype, list[str]] = {}
    for path in sample(paths, NUM_SAMPLED):
        content = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
        pixels = cv2.imdecode(content, ANY_DEPTH) if content.size else None
        if pixels is not None:
            some = sample(pixels.ravel(), VALUES_PER_IMAGE)
            values.setdefault(pixels.dtype, []).append(some)
            names.setdefault(pixels.dtype, []).append(path.name)
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
) -> Iterable[tuple[str, str]]:
    num_ones = np.array([value.bit_count() for value in range(256)], np.uint8)
    for path, thumbnail, bits in zip(first_paths, first, first_hashes, strict=True):
        distances = num_ones[second_hashes ^ bits].sum(axis=1)
        for index in np.flatnonzero(distances <= MAX_BITS):
            is_same = np.abs(second[index] - thumbnail).mean() <= MAX_LEVELS
            if is_same and second_paths[index] != path:
                yield path.name, second_paths[index].name

"""Check the image files: decode each as mmdet does and compare its size with the annotations."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mmcv
from PIL import Image
from tqdm import tqdm

from .annotation_file import Record
from .findings import Finding, find


@dataclass(frozen=True)
class ImageState:
    """How reading an image went.

    Attributes:
        is_missing: Whether there is no such file.
        error: What kept it from being read to its end.
        size: Width and height as mmdet gets them, in pixels.
    """

    is_missing: bool = False
    error: str = ''
    size: tuple[int, int] | None = None


def check_images(images: list[Record], folder: Path, num_workers: int = 2) -> list[Finding]:
    """Decode every image, with a progress bar.

    Args:
        images: Records of images.
        folder: Where their ``file_name`` starts.
        num_workers: How many images are decoded at a time.

    Returns:
        What is found.
    """
    missing, broken, other_size = [], [], []
    for image, state in zip(images, _read_all(images, folder, num_workers), strict=True):
        name = image['file_name']
        if state.is_missing:
            missing.append(name)
        elif state.error:
            broken.append(f'{name} ({state.error})')
        elif state.size != (image['width'], image['height']):
            other_size.append(_describe_sizes(image, state.size))
    return [
        *find('missing-image', f'images that are not in {folder}. Training stops.', missing),
        *find(
            'undecodable-image',
            'files that cannot be read to their end as images. Training stops, or invents pixels.',
            broken,
        ),
        *find(
            'image-size',
            'images whose size differs from the annotation file. Their boxes may be elsewhere.',
            other_size,
        ),
    ]


def read_image(path: Path) -> ImageState:
    """Decode an image as mmdet does, and with Pillow: OpenCV 4.8 invents what a JPEG lacks.

    Args:
        path: An image file.

    Returns:
        How it went.
    """
    try:
        with Image.open(path) as image:
            image.load()
        pixels = mmcv.imfrombytes(path.read_bytes())
    except FileNotFoundError:
        return ImageState(is_missing=True)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return ImageState(error=str(error))
    if pixels is None:
        return ImageState(error='OpenCV does not know its format')
    height, width = pixels.shape[:2]
    return ImageState(size=(width, height))


def _read_all(images: list[Record], folder: Path, num_workers: int) -> Iterator[ImageState]:
    paths = [folder / image['file_name'] for image in images]
    progress = partial(tqdm, total=len(paths), desc='decoding', unit='image')
    # Decoders release Python's lock: threads share the work as processes would.
    with ThreadPoolExecutor(num_workers) as pool:
        yield from progress(pool.map(read_image, paths))


def _describe_sizes(image: Record, size: tuple[int, int]) -> str:
    expected = (image['width'], image['height'])
    text = f'{image["file_name"]} is {size[0]} x {size[1]}, not {expected[0]} x {expected[1]}'
    if size == expected[::-1]:
        text += ' (turned: mmdet applies the rotation in the EXIF data)'
    return text

"""Check image files: decode each like mmdet, and compare its size with the annotations."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mmcv
from PIL import Image
from tqdm import tqdm

from .annotation_file import Record
from .problems import Problem, problem_of

# EXIF tag of the orientation, and its values that swap width and height.
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
# Formats that OpenCV reads as well. For others, Pillow may start a program: Ghostscript for EPS.
FORMATS = ('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')


@dataclass(frozen=True)
class ImageState:
    """Result of reading an image.

    Attributes:
        is_missing: Whether the file does not exist.
        error: Error while reading it.
        size: Width and height as in mmdet, in pixels, if it was read.
    """

    is_missing: bool = False
    error: str = ''
    size: tuple[int, int] = (0, 0)


def open_image(path: Path) -> Image.Image:
    """Open an image with Pillow, whatever its name says, if it is in one of ``FORMATS``.

    Args:
        path: An image file.

    Returns:
        The image; its pixels are not decoded.

    Raises:
        OSError: If it is missing, or no image in these formats.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no such file: {path}')
    Image.init()
    return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def check_images(images: list[Record], folder: Path, num_workers: int = 2) -> list[Problem]:
    """Decode every image, with a progress bar.

    Args:
        images: Records of images.
        folder: Folder that their ``file_name`` is relative to.
        num_workers: Number of images decoded at a time.
    """
    return _compare(images, _read_all(images, folder, num_workers), folder)


def check_headers(images: list[Record], folder: Path, num_images: int = 1000) -> list[Problem]:
    """Compare the sizes in image headers with the annotations, without decoding.

    Args:
        images: Records of images.
        folder: Folder that their ``file_name`` is relative to.
        num_images: Maximum number of images to read, evenly spaced.
    """
    step = max(1, -(-len(images) // num_images))
    chosen = images[::step]
    return _compare(
        chosen, map(read_header, (folder / each['file_name'] for each in chosen)), folder
    )


def _compare(images: list[Record], states: Iterable[ImageState], folder: Path) -> list[Problem]:
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


def read_header(path: Path) -> ImageState:
    """Read the size of an image after its EXIF rotation.

    Args:
        path: An image file.

    Returns:
        The result.
    """
    return _read(path, _size_in_header)


def read_image(path: Path) -> ImageState:
    """Decode an image like mmdet, and with Pillow: OpenCV 4.8 fills in truncated JPEGs.

    Args:
        path: An image file.

    Returns:
        The result.
    """
    return _read(path, _decoded_size)


def _read(path: Path, measure: Callable[[Path], tuple[int, int]]) -> ImageState:
    try:
        return ImageState(size=measure(path))
    except FileNotFoundError:
        return ImageState(is_missing=True)
    # With a damaged file, decoders raise all kinds of errors.
    except Exception as error:
        return ImageState(error=str(error) or type(error).__name__)


def _size_in_header(path: Path) -> tuple[int, int]:
    with open_image(path) as image:
        width, height = image.size
        is_turned = image.getexif().get(ORIENTATION, 1) in TURNED
    return (height, width) if is_turned else (width, height)


def _decoded_size(path: Path) -> tuple[int, int]:
    with open_image(path) as image:
        image.load()
    pixels = mmcv.imfrombytes(path.read_bytes())
    if pixels is None:
        raise ValueError('OpenCV does not support its format')
    height, width = pixels.shape[:2]
    return width, height


def _read_all(images: list[Record], folder: Path, num_workers: int) -> Iterator[ImageState]:
    paths = [folder / image['file_name'] for image in images]
    progress = partial(tqdm, total=len(paths), desc='decoding', unit='image')
    # Decoders release Python's lock, so threads are enough.
    with ThreadPoolExecutor(num_workers) as pool:
        yield from progress(pool.map(read_image, paths))


def _describe_sizes(image: Record, size: tuple[int, int]) -> str:
    expected = (image['width'], image['height'])
    text = f'{image["file_name"]} is {size[0]} x {size[1]}, not {expected[0]} x {expected[1]}'
    if size == expected[::-1]:
        text += ' (mmdet applies the EXIF rotation)'
    return text

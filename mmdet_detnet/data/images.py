"""The files of a dataset: finding them, and reading the size or the pixels of images."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import cv2
import mmcv
import numpy as np
from PIL import Image
from tqdm import tqdm

from mmdet_detnet.files import MARK, OutputFolder

from .options import TEMPLATES, Options
from .records import Problems

# Words for the splits in the names of folders and files, and in tables.
SPLIT_WORDS = {
    **dict.fromkeys(('train', 'training', 'trainset', 'trainval'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validate', 'validation', 'valset', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing', 'testset'), 'test'),
}
# Pillow opens these, but they are not pictures.
NO_PICTURES = {'.pdf', '.mpg', '.mpeg'}
# Pictures that neither Pillow nor OpenCV opens.
UNSUPPORTED = {'.heic', '.heif', '.jxl', '.svg', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raw'}
# Formats that OpenCV reads as well. For others, Pillow may start a program: Ghostscript for EPS.
FORMATS = ('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')
# EXIF tag of the orientation, and its values that swap width and height.
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
# Datasets of at most so many images are decoded even if nobody asks for it.
SMALL_DATASET = 2000
# Number of images that a thread reads at a time.
CHUNK = 16
THUMBNAIL = 32  # pixels, height and width
HEAD_SIZE = 2**16
MISSING = 'no such file'

# A progress bar, for what takes longer than a second.
show_progress = partial(tqdm, delay=1, leave=False)


def list_files(
    folder: Path, out: OutputFolder | None = None, skipped: list[str] | None = None
) -> Iterator[Path]:
    """List the regular files below a folder, sorted, without hidden ones and those of ``out``.

    Links to folders are followed, unless they lead to a folder that is listed anyway. Other folders
    with results of our commands are left out, too, and added to ``skipped``.
    """
    root = folder.resolve()
    followed: set[Path] = set()

    def is_listed(path: Path) -> bool:
        target = path.resolve()
        # The folder of a run is in the output folder.
        is_run = out and target.parent == out.folder and target.name in TEMPLATES
        if path.name[0] == '.' or is_run or (out and target == out.folder):
            return False
        if (path / MARK).exists():
            if skipped is not None:
                skipped.append(str(path))
            return False
        if not path.is_symlink():
            return True
        # A link to a folder above would never end.
        if target in followed or target.is_relative_to(root) or root.is_relative_to(target):
            return False
        followed.add(target)
        return True

    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in sorted(folders) if is_listed(Path(place, name))]
        may_be_made = out is not None and Path(place).absolute().is_relative_to(out.folder)
        for path in (Path(place, name) for name in sorted(names) if name[0] != '.'):
            # Reading anything but a file, such as a pipe, may never end.
            if path.is_file() and not (may_be_made and out and out.made(path)):
                yield path


def read_head(file: Path) -> bytes:
    """Read the start of a file, by which its format is recognized."""
    with file.open('rb') as stream:
        return stream.read(HEAD_SIZE)


@cache
def name_split(path: str | Path) -> str:
    """Find the split that a relative path names, as trainImages; the innermost folder decides."""
    for part in reversed(Path(path).parts):
        # A DevKit is no split.
        for word in re.findall('[A-Z]*[a-z]+|[A-Z]+', part.replace('DevKit', '')):
            if word.lower() in SPLIT_WORDS:
                return SPLIT_WORDS[word.lower()]
    return ''


def _compose(name: str) -> str:
    """Write accents as part of their letters; macOS has them as characters of their own."""
    return unicodedata.normalize('NFC', name)


def _last(name: str) -> str:
    return _compose(name.replace('\\', '/')).rpartition('/')[2]


def _split_path(name: str) -> tuple[str, ...]:
    return Path(_compose(name.replace('\\', '/'))).parts


class ImageFiles:
    """The images of a dataset, without those of ``out``, found by their names in annotations."""

    def __init__(self, options: Options, out: OutputFolder | None = None) -> None:
        self.folder = folder = options.image_folder
        # The names of folders above these tell nothing of a split.
        self._roots = [options.folder, folder, options.annotations or folder]
        self.problems = Problems()  # what was skipped or assumed while reading
        results: list[str] = []
        self.files = [*list_files(folder, out, results)]
        text = 'folder-of-results: folders with results of mmdet_detnet. Skipped.'
        self.problems.warn(text, *results)
        suffixes = {s for s, name in Image.registered_extensions().items() if name in Image.OPEN}
        suffixes -= NO_PICTURES
        self.paths = [file for file in self.files if file.suffix.lower() in suffixes]
        self._unsupported = [file for file in self.files if file.suffix.lower() in UNSUPPORTED]
        self._used: set[Path] = set()
        # Annotation files and the names in them, by the stem of the image, and the nearest one's
        # nearness to each image.
        self._claims: dict[str, list[tuple[Path, str]]] = defaultdict(list)
        self._nearest: dict[Path, tuple[int, bool]] = {}
        self._folder_names = {part for path in self.paths for part in path.parent.parts}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[_compose(path.name)].append(path)
            self._by_name[_compose(path.stem)].append(path)

    def __contains__(self, name: str) -> bool:
        """Return whether an image has a name, with or without suffix."""
        return _compose(name) in self._by_name

    def claim(self, pairs: Iterable[tuple[Path, str]]) -> None:
        """Take note of annotation files and the names of images in them, before any is found."""
        for annotation, name in pairs:
            for path in self._named(name)[:1]:
                self._claims[path.stem].append((annotation, name))

    def find(self, annotation: Path, *names: str) -> Path | None:
        """Find the image of an annotation file; none is a warning, several are a ValueError.

        Where folders number their images alike and one is missing, those of the same name in other
        folders are not taken for it: they belong to nearer annotations.

        Args:
            annotation: The annotation file; the image may be next to it.
            *names: Paths or names, with or without suffix, possibly from another machine. The first
                one that leads to an image counts; another, with a suffix, tells it from a mask that
                has its name.
        """
        found: list[Path] = []
        lasts = {_last(name) for name in names}
        for name in filter(None, names):
            candidates = self.candidates(annotation, name, lasts)
            candidates = [x for x in candidates if not self._is_of_nearer(annotation, name, x)]
            found = [path for path in found if path in candidates] or found or candidates
            if len(found) == 1:
                self._used.add(found[0])
                return found[0]
        if found:
            raise ValueError(
                f'{annotation}: the image may be {found[0]} or {found[1]}. Name the folder of the '
                'images with --images, or give them different names.'
            )
        stems = {Path(name).stem for name in names}
        for path in self._unsupported:
            if path.stem in stems:
                text = 'pictures that neither Pillow nor OpenCV reads. Skipped. Convert them.'
                self.problems.warn(f'image-not-supported: {text}', path.relative_to(self.folder))
                return None
        text = 'annotations without an image, or with that of a nearer annotation. Skipped.'
        culprit = f'{[*filter(None, names)][-1]} ({annotation.name})'
        self.problems.warn(f'image-not-found: {text}', culprit)
        return None

    def candidates(
        self, annotation: Path, name: str, full_names: Container[str] = ()
    ) -> list[Path]:
        """List the images that a name in an annotation file may mean; first the ``full_names``."""
        named = self._named(name)
        named = [path for path in named if _compose(path.name) in full_names] or named
        if len(named) == 1:
            return named
        parts = _split_path(name)
        near = [annotation.parent.joinpath(*parts), self.folder.joinpath(*parts)]
        exact = [path for path in near if path in named]
        neighbors = [path for path in named if path.parent == annotation.parent]
        if exact or neighbors or not named:
            return exact[:1] or neighbors
        folders, split = self._place(annotation, name)
        common = [len(folders.intersection(path.parent.parts)) for path in named]
        closest = [path for path, n in zip(named, common, strict=True) if n == max(common)]
        return [path for path in closest if split and self.name_split(path) == split] or closest

    def _named(self, name: str) -> list[Path]:
        last = _last(name)
        return self._by_name.get(last) or self._by_name.get(Path(last).stem, [])

    def _place(self, annotation: Path, name: str) -> tuple[set[str], str]:
        """Return the names of folders, and the split, in which an annotation's image should be.

        Each split may number its images from 1: annotations/train.json, images/train/1.jpg.
        """
        folders = {*_split_path(name)[:-1], *annotation.parent.parts}
        return folders, name_split(annotation.name) or self.name_split(annotation)

    def _measure_nearness(self, annotation: Path, name: str, path: Path) -> tuple[int, bool]:
        folders, split = self._place(annotation, name)
        common = folders.intersection(path.parent.parts)
        return len(common), split != '' and split == self.name_split(path)

    def _is_of_nearer(self, annotation: Path, name: str, path: Path) -> bool:
        """Return whether an image belongs to a nearer annotation, and this one names another image.

        Another image is one of another split, in another folder of images, or on another path from
        the same start. Paths from different machines may lead to one image.
        """
        claims = self._claims.get(path.stem, [])
        if len(claims) <= len(self._named(name)):
            return False
        *folders, last = _split_path(name)
        is_for_one_image = annotation.stem in (last, Path(last).stem)
        splits_differ = len({self.name_split(path), self._place(annotation, name)[1]} - {''}) > 1
        if not is_for_one_image and not folders and not splits_differ:
            return False
        if path not in self._nearest:
            self._nearest[path] = max(self._measure_nearness(*claim, path) for claim in claims)
        own = self._measure_nearness(annotation, name, path)
        if own == self._nearest[path] or splits_differ:
            return own < self._nearest[path]
        if is_for_one_image:
            named = self._folder_names.intersection([*folders, *annotation.parent.parts])
            return not named <= {*path.parts}
        nearer = [each for each in claims if self._measure_nearness(*each, path) > own]
        starts = [parts[0] for _, other in nearer if len(parts := _split_path(other)) > 1]
        return any((start[-1] in '/:') == (folders[0][-1] in '/:') for start in starts)

    def name_split(self, *files: Path | None) -> str:
        """Find the split that the folders of the first file name, or else those of the next."""
        for file in filter(None, files):
            folder = file.parent
            root = next((each for each in self._roots if folder.is_relative_to(each)), folder)
            if split := name_split(folder.relative_to(root)):
                return split
        return ''

    def unused(self) -> list[Path]:
        """List the images without an annotation."""
        return [path for path in self.paths if path not in self._used]


class ImageState(NamedTuple):
    """What a file of an image turned out to be."""

    error: str = ''  # why it cannot be read, such as MISSING
    size: tuple[int, int] = (0, 0)  # width and height as in mmdet, in pixels, if it was read
    thumbnail: np.ndarray | None = None  # (32, 32) gray levels, if it was decoded


def open_image(path: Path) -> Image.Image:
    """Open an image with Pillow, whatever its name says, if it is in one of ``FORMATS``.

    Returns:
        The image; its pixels are not decoded.

    Raises:
        OSError: If it is missing, or no image in these formats.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{MISSING}: {path}')
    Image.init()
    return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def read_image(path: Path, decode: bool = True) -> ImageState:
    """Decode an image as mmdet does, and find out whether the file is complete.

    Without ``decode``, only the header is read, for the size after its EXIF rotation.
    """
    try:
        if not decode:
            with open_image(path) as image:
                return ImageState(size=_turned_size(image))
        pixels = _decode(path)
        height, width = pixels.shape[:2]
        small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        return ImageState(size=(width, height), thumbnail=gray)
    except FileNotFoundError:
        return ImageState(MISSING)
    # With a damaged file, decoders raise all kinds of errors.
    except Exception as error:
        return ImageState(str(error) or type(error).__name__)


def _turned_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    # For a PNG file without EXIF data at its start, Pillow would decode all pixels to find some.
    has_exif = image.format != 'PNG' or 'exif' in image.info
    is_turned = has_exif and image.getexif().get(ORIENTATION, 1) in TURNED
    return (height, width) if is_turned else (width, height)


def _decode(path: Path) -> np.ndarray:
    with open_image(path) as image:
        kind = image.format
    content = path.read_bytes()
    # OpenCV 4.8 makes up the pixels that a truncated JPEG lacks. In a complete one, the mark of the
    # end follows that of the last scan.
    if kind in ('JPEG', 'MPO') and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda'):
        raise ValueError('the file is truncated')
    pixels = mmcv.imfrombytes(content)
    if pixels is None:
        raise ValueError('OpenCV cannot decode it')
    return pixels


def read_images(paths: Sequence[Path], decode: bool | None = None) -> list[ImageState]:
    """Read image files, with a progress bar; ``decode`` None decodes a ``SMALL_DATASET``."""
    decode = len(paths) <= SMALL_DATASET if decode is None else decode
    words = 'decoding' if decode else 'reading headers'
    # Decoders and files release Python's lock, so threads are enough.
    with ThreadPool() as pool:
        states = pool.imap(partial(read_image, decode=decode), paths, CHUNK)
        return [*tqdm(states, total=len(paths), desc=words, unit='image')]

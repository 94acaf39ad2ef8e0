"""Images and frames to detect in: from files, folders, globs, lists, videos, cameras, streams."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import mmcv
import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from mmdet_detnet.arguments import reject
from mmdet_detnet.data.images import open_image

VIDEO_EXTENSIONS = '.avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ts .webm .wmv'.split()
COUNTED = ('.avi', '.m4v', '.mov', '.mp4')
DEFAULT_RATE = 25.0  # frames per second, of a camera that does not say it

# What cannot be opened or decoded is said by us, with its name.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class Source(NamedTuple):
    """What frames come from: an ``'image'``, ``'video'``, ``'camera'`` or ``'stream'``.

    ``name`` is the path as given, ``'camera 0'``, or an address without user name and password;
    ``target`` is the path, number or address.
    """

    name: str
    kind: str
    target: str

    @property
    def is_file(self) -> bool:
        """Whether it is an image or a video file."""
        return self.kind in ('image', 'video')


class Frame(NamedTuple):
    """An image, or a frame of a video."""

    source: Source
    image: np.ndarray | None  # BGR, uint8, (H, W, 3); None if it cannot be read
    problem: str = ''  # why it cannot be read, as a part of a sentence
    number: int | None = None  # in a video, from 0
    rate: float = DEFAULT_RATE  # frames per second of the video

    @property
    def name(self) -> str:
        """The source's name, with the number of a frame."""
        return self.source.name if self.number is None else f'{self.source.name}, {self.number}'


def find_sources(inputs: Sequence[str | Path | int]) -> list[Source]:
    """Find what the arguments of a command refer to.

    Args:
        inputs: Image and video files, folders (without sub-folders), globs (``**`` means any
            depth), text files with such a line each, relative to their own folder, numbers of
            cameras, and addresses of streams.

    Returns:
        The sources, each once. A plain file name is returned even if the file does not exist.

    Raises:
        FileNotFoundError: If a folder, a glob or a list has no image or video.
        ValueError: If a list is not a text.
    """
    found: list[Source] = []
    for each in map(str, inputs):
        path = Path(each)
        if path.suffix.lower() != '.txt':
            found += _find(each)
            continue
        try:
            lines = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
        except UnicodeDecodeError as error:
            raise ValueError(f'{path} must be a list of files, one per line ({error}).') from error
        if not any(lines):
            raise FileNotFoundError(f'{path} lists no image or video.')
        for line in filter(None, lines):
            found += _find(line if _is_elsewhere(line) else str(path.parent / line))
    return list(dict.fromkeys(found))


def _is_elsewhere(text: str) -> bool:
    return '://' in text or text.isdecimal()


def _find(text: str) -> list[Source]:
    path = Path(text)
    if '://' in text:
        return [Source(re.sub('//[^/@]*@', '//', text), 'stream', text)]
    if text.isdecimal() and not path.exists():
        return [Source(f'camera {text}', 'camera', text)]
    if path.is_dir():
        known = (*IMG_EXTENSIONS, *VIDEO_EXTENSIONS)
        found = [file for file in path.iterdir() if file.suffix.lower() in known]
    elif glob.has_magic(text) and not path.exists():
        found = [Path(name) for name in glob.glob(text, recursive=True)]
        found = [file for file in found if file.is_file()]
    else:
        found = [path]
    if not found:
        raise FileNotFoundError(f'No image or video found: {text}.')
    return [_file_source(file) for file in sorted(found)]


def _file_source(path: Path) -> Source:
    is_video = path.suffix.lower() in VIDEO_EXTENSIONS
    return Source(str(path), 'video' if is_video else 'image', str(path))


def read_frames(sources: Sequence[Source], every: int = 1) -> Iterator[Frame]:
    """Read the images and every ``every``-th frame of the videos, one at a time.

    What cannot be read has a ``problem``.

    Raises:
        ValueError: If ``every`` is less than 1.
    """
    if every < 1:
        reject('read_frames', 'every', every, 'at least 1')
    return chain.from_iterable(_read(source, every) for source in sources)


def _read(source: Source, every: int) -> Iterable[Frame]:
    if source.kind == 'image':
        return [_read_image(source)]
    if source.kind == 'video' and not Path(source.target).is_file():
        return [Frame(source, None, 'no such file')]
    return _read_video(source, every)


def _read_image(source: Source) -> Frame:
    """Read an image with OpenCV, which completes a damaged one unless Pillow decodes it first."""
    path = Path(source.target)
    try:
        with open_image(path) as image:
            image.load()
        pixels = mmcv.imread(path)
    except FileNotFoundError:
        return Frame(source, None, 'no such file')
    # With a damaged file, decoders raise all kinds of errors.
    except Exception as error:
        return Frame(source, None, f'cannot be read as an image ({error})')
    if pixels is None:
        problem = 'cannot be read as an image (OpenCV does not support its format)'
        return Frame(source, None, problem)
    return Frame(source, pixels)


def _read_video(source: Source, every: int) -> Iterator[Frame]:
    is_camera = source.kind == 'camera'
    capture = cv2.VideoCapture(int(source.target) if is_camera else source.target)
    try:
        if not capture.isOpened():
            yield Frame(source, None, f'cannot be opened as a {source.kind}')
            return
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 0 < rate < 1000 else DEFAULT_RATE
        number = 0
        while capture.grab():
            if number % every == 0:
                is_decoded, image = capture.retrieve()
                image = image if is_decoded else None
                yield Frame(source, image, '' if is_decoded else 'cannot be decoded', number, rate)
            number += 1
        # Only some kinds of files say exactly how many frames they have.
        is_counted = source.kind == 'video' and Path(source.target).suffix.lower() in COUNTED
        announced = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if is_counted else 0)
        if number < announced:
            problem = f'only {number} of {announced} frames can be read: it is damaged, or trimmed'
            yield Frame(source, None, problem)
    finally:
        capture.release()

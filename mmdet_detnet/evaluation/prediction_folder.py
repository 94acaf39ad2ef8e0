"""Write what a detector finds: a line of JSON, and a picture or video, of each image."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import cv2
import mmcv
import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from tqdm import tqdm

from mmdet_detnet.files import OutputFolder

from .predict import Predictor, Result
from .sources import Frame, Source, find_sources, read_frames
from .tiles import Tiles

FILE_NAME = 'predictions.jsonl'


def write_predictions(
    predictor: Predictor,
    inputs: Sequence[str | Path | int],
    out_dir: str | Path,
    score_thr: float | None = None,
    batch: int = 1,
    every: int = 1,
    tiles: Tiles | None = None,
) -> tuple[int, int]:
    """Detect in images and videos, and write ``predictions.jsonl``, and pictures in ``vis``.

    ``inputs`` are as for :func:`.find_sources`, ``every`` as for :func:`.read_frames`, and the
    other options as for :meth:`.Predictor.predict`.

    Returns:
        The numbers of images and frames that were detected in, and of those that failed, which are
        named on stderr.

    Raises:
        FileExistsError: If a file of the user's would be replaced; nothing is written.
        FileNotFoundError: If an input has no image or video.
        ValueError: If an argument is wrong.
    """
    sources = find_sources(inputs)
    frames = read_frames(sources, every)
    results = predictor.predict(frames, score_thr, batch, tiles)
    numbers = [0, 0]
    total = len(sources) if all(each.kind == 'image' for each in sources) else None
    with PredictionFolder(out_dir, sources, every) as folder:
        # Without a terminal, there is no bar.
        for result in tqdm(results, total=total, unit=' frames', disable=None):
            folder.add(result)
            numbers[bool(result.problem)] += 1
            if result.problem:
                tqdm.write(f'{result.frame.name}: {result.problem}', file=sys.stderr)
    return numbers[0], numbers[1]


class PredictionFolder:
    """A folder with ``predictions.jsonl``, and pictures and videos in ``vis``.

    A line is written after each image or frame, so the file is valid whenever the program ends.

    Args:
        folder: The folder. Pictures keep their folders relative to the images' common one.
        sources: All that results will come from.
        every: Every how many frames of a video there is a result.

    Raises:
        FileExistsError: If a file of the user's would be replaced; nothing is written.
    """

    def __init__(self, folder: str | Path, sources: Sequence[Source], every: int = 1) -> None:
        self._output = OutputFolder(folder)
        self._names = _name_pictures(sources)
        self._output.check(FILE_NAME, *self._names.values())
        taken = {Path(each.target).resolve() for each in sources if each.is_file}
        for name in self._names.values():
            if (path := self._output.folder / name).resolve() in taken:
                raise FileExistsError(f'{path} is an image to detect in. Write to another folder.')
        self._every = every
        self._video: _Video | None = None

    def __enter__(self) -> 'PredictionFolder':
        self._lines: IO[str] = self._output.path(FILE_NAME).open('w', encoding='utf-8')
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        if self._video:
            self._video.writer.release()

    def add(self, result: Result) -> None:
        """Write a result; if it cannot be drawn, its line has detections and a ``problem``."""
        line = result.to_dict()
        if not result.problem:
            try:
                self._draw(result)
            # Classes and images of strangers can raise any error.
            except Exception as error:
                result.problem = f'cannot be drawn ({type(error).__name__}: {error})'
                line['problem'] = result.problem
        self._lines.write(json.dumps(line) + '\n')
        self._lines.flush()

    def _draw(self, result: Result) -> None:
        picture, frame = result.draw(), result.frame
        path = self._output.path(self._names[frame.source])
        if frame.number is None:
            mmcv.imwrite(picture, str(path))
            return
        if self._video is None or self._video.source != frame.source:
            if self._video:
                self._video.writer.release()
            self._video = _Video(path, frame, self._every)
        self._video.add(picture)


class _Video:
    """A video file of annotated frames."""

    def __init__(self, path: Path, first: Frame, every: int) -> None:
        assert first.image is not None
        height, width = first.image.shape[:2]
        codec = cv2.VideoWriter_fourcc(*'mp4v')  # OpenCV's wheels have it; they have no H.264
        self.source = first.source
        self.size = (width, height)
        rate = first.rate / every
        # OpenCV takes three decimals, and MPEG-4 at most 65535 units of time a second.
        rate = round(rate, 3 if rate < 65 else 1)
        self.writer = cv2.VideoWriter(str(path), codec, rate, self.size)

    def add(self, picture: np.ndarray) -> None:
        """Add a frame; OpenCV would leave out what it cannot write, without a word."""
        width, height = self.size
        if not self.writer.isOpened():
            raise OSError(f'OpenCV cannot write MP4 files of {width} x {height} pixels here')
        if picture.shape[1::-1] != self.size:
            raise ValueError(f'the first frame has another size, {width} x {height}')
        self.writer.write(picture)


def _name_pictures(sources: Sequence[Source]) -> dict[Source, Path]:
    """Name the picture or video of each source, relative to the folder of results."""
    # Without `..`, which would lead out of the folder.
    paths = {each: Path(os.path.abspath(each.target)) for each in sources if each.is_file}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ''
    names = {}
    for number, source in enumerate(sources):
        path = Path(f'{source.kind}{number}')
        if source.is_file:
            path = paths[source].relative_to(common)
        # A PGM file has no colors.
        endings = {*IMG_EXTENSIONS} - {'.pgm'} if source.kind == 'image' else {'.mp4'}
        if path.suffix.lower() not in endings:
            path = path.with_name(path.name + ('.png' if source.kind == 'image' else '.mp4'))
        names[source] = Path('vis', path)
    return names

"""The commands of ``mmdet-detnet`` as methods, for notebooks."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import mmcv
import numpy as np
from PIL import Image

from .arguments import reject
from .checkpoints import POINTER, force_weights_only
from .data.check import report_training_data
from .data.options import Options
from .data.project import create_project
from .evaluation import report
from .evaluation.predict import Predictor, Result, evaluate_in_tiles, is_onnx
from .evaluation.sources import Frame, Source, find_sources, read_frames
from .evaluation.tiles import Tiles
from .training import runs
from .training.termination import restore_handlers

TIME = re.compile(r'\d{8}_\d{6}')
ARRAY = Source('array', 'image', '')
Inputs: TypeAlias = str | Path | int | np.ndarray | Image.Image


class Detector:
    """A detector to train, test and use, by the functions of the commands.

    Args:
        file: A config file, a checkpoint or an ONNX file. A config stands for the best checkpoint
            of its run.
        config: Config file of a checkpoint; None for the one next to it, as a run leaves it there.
            A config is a program, and is run.
        device: Such as ``'cpu'`` or ``'cuda:0'``, for :meth:`predict`; None for a GPU if there is
            one.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there are several configs next to a checkpoint, two files are configs, or the
            file is none of these.

    Examples:
        >>> detector = Detector.new('my_data', model='double-head-ext_r50')
        >>> detector.train(epochs=20)
        >>> detector.test()['coco/bbox_mAP']
        >>> for result in detector.predict('photos/'):
        ...     display(result)
    """

    def __init__(
        self, file: str | Path, config: str | Path | None = None, device: str | None = None
    ) -> None:
        force_weights_only()
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f'No such file: {path}.')
        self.device = device
        self.config: Path | None = None if config is None else Path(config)
        self._checkpoint: Path | None = path
        self._is_foreign = config is not None  # the checkpoint may be of another run
        self.work_dir = path.parent
        if path.suffix == '.py':
            if config is not None:
                reject(self, 'config', str(config), f'None if the file is a config, as {path} is')
            self.config, self._checkpoint = path, None
            self.work_dir = runs.find_work_dir(path)
        elif not is_onnx(path):
            with path.open('rb') as content:
                # A zip archive, a pickle of torch before 1.6, or empty, which has its own message.
                if not (content.read(2) or b'PK').startswith((b'PK', b'\x80')):
                    raise ValueError(
                        f'{path} is neither a config (.py), an ONNX file (.onnx) nor a checkpoint.'
                    )
            self.config = self.config or _find_config(path)
        self._predictor: Predictor | None = None

    @classmethod
    def new(cls, folder: str | Path, **options: Any) -> 'Detector':
        """Read a folder of images with annotations, and write a config: ``mmdet-detnet new``.

        Args:
            folder: The folder.
            options: Those of :class:`.Options`, such as ``model`` and ``out``.

        Returns:
            The detector, to be trained.

        Raises:
            ValueError: If the annotations have problems, which are printed.
        """
        for name in ('out', 'images', 'annotations', 'start_from'):
            if options.get(name) is not None:
                options[name] = Path(options[name])
        config = create_project(Options(folder=Path(folder), **options))
        if config is None:
            raise ValueError(f'{folder}: no config was written, because of the problems above.')
        return cls(config)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint or ONNX file; of a config, the best of its run.

        Raises:
            FileNotFoundError: If the detector is not trained.
        """
        return self._checkpoint or runs.find_checkpoint(self.work_dir)

    def train(self, epochs: int | None = None, **options: Any) -> Path:
        """Train, or resume an interrupted run: ``mmdet-detnet train``.

        Args:
            epochs: Number of epochs of a new run, to which the schedule is stretched; None for the
                config's.
            options: ``from_start``, ``show`` and ``gpus`` of :func:`.training.runs.train`.

        Returns:
            The best checkpoint.

        Raises:
            RuntimeError: If the run was stopped; the reason is printed.
            ValueError: If the detector has no config, or a checkpoint that is not of the config's
                run, so that training would not start from it.
        """
        config = self._require_config('train')
        has_run = (self.work_dir / POINTER).is_file()
        if self._checkpoint is not None and (self._is_foreign or not has_run):
            raise ValueError(
                f'Detector.train would not start from {self._checkpoint}: train '
                f'Detector({str(config)!r}), or give Detector.new the weights as start_from.'
            )
        options.setdefault('check_data', report_training_data)
        self._predictor = None
        try:
            with restore_handlers():
                self._checkpoint = runs.train(
                    config, work_dir=self.work_dir, epochs=epochs, **options
                )
        except SystemExit as stop:  # as ends a command, but not a notebook
            raise RuntimeError('the run was stopped for the reason above.') from stop
        return self._checkpoint

    def test(self, tiles: int | None = None, overlap: float = 0.2) -> dict[str, float]:
        """Evaluate on the test images, and print the metrics: ``mmdet-detnet test``.

        ``tiles`` and ``overlap`` are as for :meth:`predict`. Without them, this chooses the score
        for that method on the validation images.

        Returns:
            The metrics, such as ``coco/bbox_mAP``, without undefined ones.

        Raises:
            ValueError: If the detector has no config, or its dataset is not in COCO's format.
        """
        config = self._require_config('test')
        if tiles is not None:
            metrics = evaluate_in_tiles(self._load(), Tiles(tiles, overlap))
            print(report.format_metrics(metrics))
            return metrics
        self._predictor = None  # its score threshold may change
        figures = report.test(config, self.checkpoint, self.work_dir, device=self.device)
        print(report.format_report(figures))
        return figures.metrics

    def predict(
        self,
        inputs: Inputs | Iterable[Inputs],
        score_thr: float | None = None,
        batch: int = 1,
        every: int = 1,
        tiles: int | None = None,
        overlap: float = 0.2,
    ) -> Iterator[Result]:
        """Detect in images and videos: ``mmdet-detnet predict``, but nothing is written.

        Args:
            inputs: As for :func:`.find_sources`, or images: arrays ``(H, W, 3)``, BGR, uint8, or
                Pillow's, of 8 bits. One or several.
            score_thr: The lowest score; None for that of the detector, else 0.3.
            batch: Number of images, or tiles, at a time.
            every: Take every ``every``-th frame of a video.
            tiles: Side of the tiles to detect in as well, in pixels; None for whole images only.
            overlap: Overlap of neighboring tiles, as a fraction of their side.

        Returns:
            The results, as they are found. One that cannot be read or processed has a ``problem``.
        """
        cut = Tiles(tiles, overlap) if tiles is not None else None
        return self._load().predict(_read(inputs, every), score_thr, batch, cut)

    def _load(self) -> Predictor:
        if self._predictor is None:
            self._predictor = Predictor(
                self.config, self.checkpoint, self.device, work_dir=self.work_dir
            )
        return self._predictor

    def _require_config(self, method: str) -> Path:
        if self.config is None:
            raise ValueError(f'Detector.{method} needs a config; {self.checkpoint} has none.')
        return self.config


def _find_config(checkpoint: Path) -> Path:
    """Find the config that a run has left next to its checkpoints."""
    files = sorted(checkpoint.parent.glob('*.py'))
    # By time, mmengine names a copy of a config that is in the folder itself.
    found = [file for file in files if not TIME.fullmatch(file.stem)] or files
    if not found:
        raise FileNotFoundError(f'there is no config next to {checkpoint}: give config=.')
    if len(found) > 1:
        names = ', '.join(file.name for file in found)
        raise ValueError(f'there are several configs next to {checkpoint} ({names}): give config=.')
    return found[0]


def _read(inputs: Inputs | Iterable[Inputs], every: int) -> Iterator[Frame]:
    if isinstance(inputs, str | Path | int | np.ndarray | Image.Image):
        inputs = [inputs]
    parts: list[Iterable[Frame]] = []
    for each in inputs:
        if isinstance(each, Image.Image):
            if each.mode[0] in 'IF':  # convert() would cut off their values at 255
                raise ValueError(f'a Pillow image must have 8 bits, got the mode {each.mode!r}.')
            parts.append([Frame(ARRAY, mmcv.rgb2bgr(np.asarray(each.convert('RGB'))))])
        elif isinstance(each, np.ndarray):
            if each.dtype != np.uint8 or each.ndim != 3 or each.shape[2] != 3:
                raise ValueError(
                    f'an array must be (H, W, 3), BGR and uint8, got {each.shape} and {each.dtype}.'
                )
            parts.append([Frame(ARRAY, each)])
        else:
            parts.append(read_frames(find_sources([each]), every))
    return chain.from_iterable(parts)

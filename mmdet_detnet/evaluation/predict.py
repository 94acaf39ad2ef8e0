"""Detect objects in images and videos, with a checkpoint or an ONNX file of a detector."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib
import mmcv
import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.structures import InstanceData
from tqdm import tqdm

from mmdet_detnet.arguments import reject
from mmdet_detnet.config import load_config
from mmdet_detnet.deployment import keep_freed_memory
from mmdet_detnet.deployment.onnx_detector import OnnxInferencer
from mmdet_detnet.files import check_files
from mmdet_detnet.training.checks import check_checkpoint

from .loading import read_ground_truth, silence, to_coco
from .metrics import Detection, coco_figures, name_metrics
from .score_threshold import DEFAULT_SCORE_THR, ScoreThresholds, read_score_thr
from .sources import Frame, Source, read_frames
from .tiles import Tiles, merge

if TYPE_CHECKING:
    import pandas as pd

SHOWN_WIDTH = 1000  # of a picture in a notebook, in pixels


class Result:
    """What a detector found in an image, or in a frame of a video.

    It draws itself in a notebook, and is what ``supervision.Detections.from_mmdetection`` takes.

    Args:
        frame: The image.
        predictor: The detector.
        instances: The detections, on the CPU; None if there are none because of ``problem``.
        problem: Why the image could not be read or processed.
    """

    def __init__(
        self,
        frame: Frame,
        predictor: 'Predictor',
        instances: InstanceData | None = None,
        problem: str = '',
    ) -> None:
        self.frame = frame
        self.problem = problem
        if instances is None:
            instances = InstanceData(
                bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long()
            )
        self.pred_instances = instances
        self._predictor = predictor
        # A checkpoint may name fewer classes than it has.
        self.labels = [predictor.classes[label] for label in instances.labels.tolist()]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = {name: self.labels.count(name) for name in sorted(set(self.labels))}
        found = ', '.join(f'{number} {name}' for name, number in counts.items()) or 'nothing'
        return f'<Result of {self.frame.name}: {self.problem or found}>'

    @property
    def boxes(self) -> np.ndarray:
        """The boxes ``(n, 4)``, corners in pixels of the image."""
        return self.pred_instances.bboxes.numpy()

    @property
    def scores(self) -> np.ndarray:
        """The scores ``(n,)``."""
        return self.pred_instances.scores.numpy()

    def to_dict(self) -> dict[str, Any]:
        """Return what a line of ``predictions.jsonl`` has, as plain values."""
        frame = self.frame
        values: dict[str, Any] = {'path': frame.source.name}
        if frame.number is not None:
            values |= {'frame': frame.number, 'time': round(frame.number / frame.rate, 3)}
        if self.problem:
            return {**values, 'problem': self.problem}
        rows = zip(self.labels, self.scores.tolist(), self.boxes.tolist(), strict=True)
        found: list[dict[str, Any]] = [dict(label=n, score=s, bbox=b) for n, s, b in rows]
        if 'masks' in self.pred_instances:
            masks = encode_mask_results(self.pred_instances.masks.numpy())
            for each, mask in zip(found, masks, strict=True):
                each['mask'] = {'size': mask['size'], 'counts': mask['counts'].decode()}
        return {**values, 'detections': found}

    def to_pandas(self) -> 'pd.DataFrame':
        """Return a table with one detection per row: ``label``, ``score``, ``x1`` to ``y2``."""
        try:
            import pandas as pd  # half a second, which nothing else needs
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install pandas.') from error
        table = pd.DataFrame(self.boxes, columns=['x1', 'y1', 'x2', 'y2'])
        table.insert(0, 'label', self.labels)
        table.insert(1, 'score', self.scores)
        return table

    def draw(self) -> np.ndarray:
        """Draw the detections on the image: BGR, uint8; ValueError if there is a ``problem``."""
        if self.problem:
            raise ValueError(f'{self.frame.name} {self.problem}: there is no picture.')
        visualizer = self._predictor.inferencer.visualizer
        sample = DetDataSample(pred_instances=self.pred_instances)
        # A $ in a class name is a $.
        with matplotlib.rc_context({'text.parse_math': False}), warnings.catch_warnings():
            # Of every box that ends at the border: mmengine takes 640 to be outside of 640 pixels.
            warnings.filterwarnings('ignore', r'Warning: The \w+ is out of bounds')
            rgb = mmcv.bgr2rgb(self.frame.image)
            visualizer.add_datasample('', rgb, sample, draw_gt=False, pred_score_thr=-1)
        return mmcv.rgb2bgr(visualizer.get_image())

    def save(self, path: str | Path) -> None:
        """Write the picture of :meth:`draw`; it replaces a file of this name."""
        mmcv.imwrite(self.draw(), str(path))

    def _repr_jpeg_(self) -> bytes | None:
        if self.problem:
            return None  # a notebook then shows the text
        picture = self.draw()
        factor = min(1, SHOWN_WIDTH / picture.shape[1])
        return cv2.imencode('.jpg', mmcv.imrescale(picture, factor))[1].tobytes()


class Predictor:
    """A detector for images of any kind; it raises the errors of :func:`.load_detector`.

    Args:
        config: Config file of the detector; None for the description in an ONNX file.
        checkpoint: Checkpoint or ONNX file of the detector.
        device: Device of the detector; None for a GPU if there is one. ONNX files run on the CPU.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.
        work_dir: Folder of the run, which may have the score threshold of the checkpoint. An ONNX
            file has its own.

    Attributes:
        classes: Names of the classes.
        score_thr: The lowest score of a detection, if none is given: that chosen on the validation
            images, else 0.3.
        is_chosen: Whether it was chosen.
    """

    def __init__(
        self,
        config: str | Path | None,
        checkpoint: str | Path,
        device: str | None = None,
        allow_mismatch: bool = False,
        work_dir: str | Path | None = None,
    ) -> None:
        self.inferencer = _load_inferencer(config, checkpoint, device, allow_mismatch)
        self.classes: Sequence[str] = self.inferencer.model.dataset_meta['classes']
        if is_onnx(checkpoint):
            noted = self.inferencer.model.metadata.best_score_thr
            chosen = None if noted is None else ScoreThresholds(**noted)
        else:
            chosen = read_score_thr(checkpoint, work_dir)
        self.is_chosen = chosen is not None
        self.score_thr = (chosen or DEFAULT_SCORE_THR).all

    def predict(
        self,
        frames: Iterable[Frame],
        score_thr: float | None = None,
        batch: int = 1,
        tiles: Tiles | None = None,
    ) -> Iterator[Result]:
        """Detect in images; what cannot be read or processed has a ``problem``.

        Args:
            frames: The images.
            score_thr: The lowest score of a detection; None for that of the detector.
            batch: Number of images, or tiles, at a time.
            tiles: How to cut large images, in which objects are small; None for whole images.

        Raises:
            ValueError: If an argument is wrong, or tiles are for a detector with masks.
        """
        if batch < 1:
            reject('predict', 'batch', batch, 'at least 1')
        if tiles and getattr(self.inferencer.model, 'with_mask', False):
            reject('predict', 'tiles', tiles, 'None: masks of tiles are not merged')
        lowest = self.score_thr if score_thr is None else score_thr
        if not 0 <= lowest <= 1:
            reject('predict', 'score_thr', lowest, 'from 0 to 1')
        return self._predict(iter(frames), lowest, batch, tiles)

    def _predict(
        self, iterator: Iterator[Frame], lowest: float, batch: int, tiles: Tiles | None
    ) -> Iterator[Result]:
        while group := list(islice(iterator, 1 if tiles else batch)):
            readable = [frame for frame in group if not frame.problem]
            results = iter(self._try_to_detect(readable, lowest, batch, tiles))
            for frame in group:
                yield Result(frame, self, None, frame.problem) if frame.problem else next(results)

    def _try_to_detect(
        self, frames: Sequence[Frame], lowest: float, batch: int, tiles: Tiles | None
    ) -> list[Result]:
        """Detect in images; an image that cannot be processed costs no other of its batch."""
        try:
            if tiles:
                found = [self._detect_in_tiles(frame.image, batch, tiles) for frame in frames]
            else:
                found = self._detect([frame.image for frame in frames])
            return [
                Result(frame, self, instances[instances.scores >= lowest])
                for frame, instances in zip(frames, found, strict=True)
            ]
        # Images and checkpoints of strangers can raise any error.
        except Exception as error:
            if len(frames) > 1:
                return [self._try_to_detect([each], lowest, batch, tiles)[0] for each in frames]
            problem = (
                f'cannot be processed ({type(error).__name__}: {" ".join(str(error).split())})'
            )
            return [Result(frames[0], self, problem=problem)]

    @torch.no_grad()
    def _detect(self, images: Sequence[np.ndarray]) -> list[InstanceData]:
        data = [self.inferencer.pipeline(image) for image in images]
        samples = self.inferencer.forward(pseudo_collate(data)) if data else []
        return [sample.pred_instances.cpu() for sample in samples]

    def _detect_in_tiles(self, image: np.ndarray, batch: int, tiles: Tiles) -> InstanceData:
        windows = tiles.windows(*image.shape[:2])
        cuts = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows]
        found = self._detect(cuts[:1])  # alone, since its size is not that of the tiles
        for start in range(1, len(cuts), batch):
            found += self._detect(cuts[start : start + batch])
        return merge(found, windows) if len(windows) > 1 else found[0]


def is_onnx(file: str | Path) -> bool:
    """Return whether a file is an ONNX file, by its name."""
    return Path(file).suffix.lower() == '.onnx'


def _load_inferencer(
    config: str | Path | None, checkpoint: str | Path, device: str | None, allow_mismatch: bool
) -> DetInferencer:
    if is_onnx(checkpoint):
        if device not in (None, 'cpu'):
            reject('Predictor', 'device', device, "'cpu' for an ONNX file")
        with silence(logging.ERROR):
            return OnnxInferencer(checkpoint, config, allow_mismatch)
    if config is None:
        reject('Predictor', 'config', None, 'a file, unless the checkpoint is an ONNX file')
    check_files(checkpoint)
    cfg = load_config(config)
    keep_freed_memory()
    with silence(logging.ERROR):  # check_checkpoint says what is wrong
        inferencer = DetInferencer(
            cfg, str(checkpoint), device or get_device(), show_progress=False
        )
        if not allow_mismatch:
            check_checkpoint(inferencer.model, checkpoint)
    return inferencer


def evaluate_in_tiles(predictor: Predictor, tiles: Tiles) -> dict[str, float]:
    """Evaluate a detector on the test images of its config, cut into tiles.

    Returns:
        COCO's average precisions, as :func:`.report.test` has them for whole images.

    Raises:
        ValueError: If the dataset is not in COCO's format, or an image cannot be read or processed.
    """
    with silence():
        dataset = DATASETS.build(predictor.inferencer.cfg.test_dataloader.dataset)
    truth = read_ground_truth(dataset)
    frames = read_frames([Source(each['path'], 'image', each['path']) for each in truth.images])
    results = predictor.predict(frames, 0.0, tiles=tiles)
    detections: list[Detection] = []
    for image, result in zip(truth.images, tqdm(results, total=len(truth.images)), strict=True):
        if result.problem:
            raise ValueError(f'{image["path"]} {result.problem}.')
        found = {'img_id': image['id'], 'pred_instances': result.pred_instances}
        detections += to_coco(found, dataset)
    return name_metrics(coco_figures(truth, detections)[0])

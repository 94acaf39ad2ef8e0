"""A detector in an ONNX file, for use in place of an MMDetection detector.

The file may be a stranger's: it has no code, but nothing that it says is trusted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import scale_boxes
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.config import load_config
from mmdet_detnet.files import check_files

from .onnx_metadata import KEY, Metadata, describe

META_KEYS = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')
ONLY_FATAL_ERRORS = 4  # are printed by onnxruntime; all are raised


class OnnxDetector(nn.Module):
    """Runs an ONNX file of :func:`.export_onnx` with onnxruntime on the CPU.

    It has ``test_step`` for ``DetInferencer`` and evaluation, but no weights.

    Args:
        file: The ONNX file.
        num_threads: Threads of onnxruntime; 0 for one per core.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If onnxruntime is missing.
        ValueError: If the file is damaged or not from :func:`.export_onnx`.
    """

    def __init__(self, file: str | Path, num_threads: int = 0) -> None:
        super().__init__()
        check_files(file)
        self.session = _open_session(Path(file), num_threads)
        properties = self.session.get_modelmeta().custom_metadata_map
        try:
            self.metadata = Metadata.from_json(properties[KEY])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f'{file} must describe its detector as a file of export_onnx does, got {error!r}.'
            ) from error
        self.file = Path(file)
        self.dataset_meta = {'classes': tuple(self.metadata.classes)}

    def check_config(self, cfg: Config) -> None:
        """Raise ValueError, which lists the differences, for the config of another detector."""
        named = cfg.test_dataloader.dataset.get('metainfo', {}).get('classes')
        expected = describe(cfg, named or self.metadata.classes, self.metadata.takes_pixels)
        differences = self.metadata.differences(expected)
        if differences:
            raise ValueError(
                f'{self.file} is of another detector than {cfg.filename}: the two have '
                f'{"; ".join(differences)}.'
            )

    def detect(self, images: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Detect the objects in images of one size.

        Args:
            images: RGB, uint8, ``(B, 3, H, W)``.

        Returns:
            For each image ``bboxes`` ``(n, 4)``, corners in pixels, ``scores`` ``(n,)`` and
            ``labels`` ``(n,)``.

        Raises:
            ValueError: If the graph cannot run, or gives no detections of the file's classes.
        """
        try:
            outputs = self.session.run(None, {'images': self._prepare(images)})
        # onnxruntime has a separate error for each failure.
        except Exception as error:
            raise ValueError(f'{self.file} cannot be run ({_first_line(error)}).') from error
        outputs = [np.asarray(output) for output in outputs]
        shapes = [output.shape for output in outputs]
        size = (len(images), *shapes[0][1:2])
        if shapes != [(*size, 4), size, size, size[:1]]:
            raise ValueError(f'{self.file} gives outputs of the shapes {shapes}.')
        boxes, scores, labels, numbers = outputs
        if not _are_in_range(numbers, size[1] + 1):
            raise ValueError(f'{self.file} gives numbers of detections other than 0 to {size[1]}.')
        num_classes = len(self.metadata.classes)
        if not _are_in_range(labels[np.arange(size[1]) < numbers[:, None]], num_classes):
            raise ValueError(f'{self.file} gives labels other than those of {num_classes} classes.')
        return [
            dict(bboxes=boxes[i, :number], scores=scores[i, :number], labels=labels[i, :number])
            for i, number in enumerate(numbers)
        ]

    def _prepare(self, images: np.ndarray) -> np.ndarray:
        """Normalize images if the graph does not."""
        metadata = self.metadata
        if metadata.takes_pixels:
            return images
        images = (images if metadata.to_rgb else images[:, ::-1]).astype(np.float32)
        if metadata.mean is None or metadata.std is None:
            return images
        mean, std = (
            np.array(values, np.float32)[:, None, None] for values in (metadata.mean, metadata.std)
        )
        return (images - mean) / std

    def test_step(self, data: dict[str, Any]) -> list[DetDataSample]:
        """Detect the objects in images from a test pipeline.

        Args:
            data: ``inputs``, images as BGR, uint8, ``(3, H, W)`` each, and ``data_samples``.

        Returns:
            The samples, with the detections in pixels of the original images.
        """
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            (detections,) = self.detect(np.ascontiguousarray(image.numpy()[None, ::-1]))
            instances = to_instances(detections)
            factors = [1 / factor for factor in sample.scale_factor]
            instances.bboxes = scale_boxes(instances.bboxes, factors)
            sample.pred_instances = instances
        return data['data_samples']


def to_instances(detections: Mapping[str, np.ndarray]) -> InstanceData:
    """Convert the detections in one image for MMDetection."""
    return InstanceData(**{name: torch.from_numpy(each) for name, each in detections.items()})


def _are_in_range(values: np.ndarray, limit: int) -> bool:
    return values.dtype.kind in 'iu' and bool(((values >= 0) & (values < limit)).all())


def _open_session(file: Path, num_threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "ONNX files need onnxruntime: pip install 'mmdet_detnet[onnx]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = ONLY_FATAL_ERRORS
    try:
        # Bytes have no folder: onnxruntime refuses weights that lie in other files.
        return onnxruntime.InferenceSession(file.read_bytes(), options, ['CPUExecutionProvider'])
    # It has a separate error for each kind of damage.
    except Exception as error:
        reason = _first_line(error)
        raise ValueError(f'{file} cannot be read as an ONNX file ({reason}).') from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0]


class OnnxInferencer(DetInferencer):
    """``DetInferencer``, with the images and pictures of the config, or of the file alone.

    Args:
        file: ONNX file of :func:`.export_onnx`.
        config: Config file of the detector; None for the description in the ONNX file.
        allow_mismatch: Whether the config may be of another detector.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the file and the config are of different detectors.
    """

    def __init__(
        self, file: str | Path, config: str | Path | None = None, allow_mismatch: bool = False
    ) -> None:
        self._detector = OnnxDetector(file)
        if config is None:
            cfg = make_config(self._detector.metadata)
        else:
            cfg = load_config(config)
            if not allow_mismatch:
                self._detector.check_config(cfg)
        super().__init__(cfg, device='cpu', show_progress=False)

    def _init_model(self, cfg: ConfigDict, weights: str | None, device: str) -> OnnxDetector:
        return self._detector


def make_config(metadata: Metadata) -> Config:
    """Make the part of a config for reading, scaling and drawing images.

    It takes only numbers from the file, so the file cannot name code to run.
    """
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=tuple(metadata.image_scale), keep_ratio=metadata.keep_ratio),
        dict(type='PackDetInputs', meta_keys=META_KEYS),
    ]
    visualizer = dict(
        type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
    )
    dataloader = dict(dataset=dict(pipeline=pipeline))
    return Config(dict(test_dataloader=dataloader, visualizer=visualizer))

"""MMDetection's inferencer with a detector in an ONNX file."""

from pathlib import Path

from mmdet.apis import DetInferencer
from mmengine.config import Config, ConfigDict

from mmdet_detnet.files import check_files

from .metadata import Metadata
from .onnx_detector import OnnxDetector

META_KEYS = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')


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
            check_files(config)
            cfg = Config.fromfile(config)
            if not allow_mismatch:
                self._detector.check_config(cfg)
        super().__init__(cfg, device='cpu', show_progress=False)

    def _init_model(self, cfg: ConfigDict, weights: str | None, device: str) -> OnnxDetector:
        return self._detector


def make_config(metadata: Metadata) -> Config:
    """Make the part of a config for reading, scaling and drawing images.

    Args:
        metadata: Description of the detector in an ONNX file.

    Returns:
        The config. It takes only numbers from the file, so the file cannot name code to run.
    """
    scale = tuple(metadata.image_scale)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=scale, keep_ratio=metadata.keep_ratio),
        dict(type='PackDetInputs', meta_keys=META_KEYS),
    ]
    visualizer = dict(
        type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
    )
    dataloader = dict(dataset=dict(pipeline=pipeline))
    return Config(dict(test_dataloader=dataloader, visualizer=visualizer))

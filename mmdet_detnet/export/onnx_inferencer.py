"""MMDetection's inferencer with a detector in an ONNX file."""

from pathlib import Path

from mmdet.apis import DetInferencer
from mmengine.config import Config, ConfigDict

from .metadata import Metadata
from .onnx_detector import OnnxDetector

META_KEYS = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')


class OnnxInferencer(DetInferencer):
    """``DetInferencer``, with the images and pictures of the config, or of the file alone.

    Args:
        file: ONNX file of :func:`.export_onnx`.
        config: Config file of the detector; None for what the file says of it.
        allow_mismatch: Whether the config may be of another detector.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the file and the config are of two detectors.
    """

    def __init__(
        self, file: str | Path, config: str | Path | None = None, allow_mismatch: bool = False
    ) -> None:
        self._detector = OnnxDetector(file)
        if config is None:
            cfg = make_config(self._detector.metadata)
        elif not Path(config).is_file():
            raise FileNotFoundError(f'No such file: {config}.')
        else:
            cfg = Config.fromfile(config)
            if not allow_mismatch:
                self._detector.check_config(cfg)
        super().__init__(cfg, device='cpu', show_progress=False)

    def _init_model(self, cfg: ConfigDict, weights: str | None, device: str) -> OnnxDetector:
        return self._detector


def make_config(metadata: Metadata) -> Config:
    """Make the part of a config that says how images are read, scaled and drawn on.

    Args:
        metadata: What an ONNX file says of its detector.

    Returns:
        The config. Nothing of the file names code: its values are numbers.
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

"""Classes, filters, image scale and anchors of a config."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

import mmdet_detnet  # noqa: F401  (lets `_base_ = 'mmdet_detnet::...'` be found)
from mmdet_detnet.training.checks.data import innermost_dataset

from .anchors import STANDARD_ANCHORS, Anchors, read_anchors

ORIGINAL = 'in the original image'


def keep_size(width: float, height: float) -> tuple[float, float]:
    """Return the resize factors of an image that keeps its size."""
    return 1.0, 1.0


@dataclass(frozen=True)
class TrainingConfig:
    """The parts of a config that the data is compared with.

    Attributes:
        classes: Class names; None for those of the annotation file.
        filter_cfg: Option of CocoDataset that drops images.
        rescale: Returns the resize factors of width and height at test time.
        scale: Description of the resized image.
        anchors: Sizes of the detector's anchors; None if it has none.
    """

    classes: Sequence[str] | None = None
    filter_cfg: dict[str, Any] = field(default_factory=dict)
    rescale: Callable[[int, int], tuple[float, float]] = keep_size
    scale: str = ORIGINAL
    anchors: Anchors | None = STANDARD_ANCHORS


def read_training_config(source: Path | Config) -> TrainingConfig:
    """Read a config of MMDetection.

    Args:
        source: A config or config file.

    Returns:
        The parts needed by the checks.

    Raises:
        ValueError: If it has no training data set, or if the classes are missing or a single
            string.
    """
    cfg = source if isinstance(source, Config) else Config.fromfile(source)
    path = cfg.filename
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{path} has no train_dataloader.')
    register_all_modules(init_default_scope=False)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(
        {**innermost_dataset(cfg.train_dataloader.dataset), 'lazy_init': True, 'pipeline': []}
    )
    classes = dataset.metainfo.get('classes')
    if not classes or isinstance(classes, str):
        raise ValueError(
            f"{path}: metainfo of the training data must have classes=('name', ...), a tuple "
            f'even of one name, but they are {classes!r}.'
        )
    resized = cfg.get('test_dataloader') or cfg.train_dataloader
    rescale = _find_rescaling(innermost_dataset(resized.dataset)['pipeline'])
    return TrainingConfig(
        classes=list(classes),
        filter_cfg=dataset.filter_cfg or {},
        rescale=rescale,
        scale=ORIGINAL if rescale is keep_size else "after the config's resizing",
        anchors=read_anchors(cfg.model),
    )


def _find_rescaling(pipeline: list[ConfigDict]) -> Callable[[int, int], tuple[float, float]]:
    resizes = [transform for transform in pipeline if 'Resize' in str(transform['type'])]
    if not resizes:
        return keep_size
    resize: BaseTransform = TRANSFORMS.build(resizes[0])

    @cache
    def rescale(width: int, height: int) -> tuple[float, float]:
        return resize({'img': np.zeros((height, width), np.uint8)})['scale_factor']

    return rescale

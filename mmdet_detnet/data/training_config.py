"""What a config does with a dataset: its classes, filters, image scale and anchors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TASK_UTILS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmdet_detnet.config import load_config
from mmdet_detnet.training.checks import innermost_dataset

# Candidate scales of anchors; 8 is Faster R-CNN's.
SCALES = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

# Returns the resize factors of an image's width and height.
Rescale = Callable[[int, int], tuple[float, float]]


def keep_size(width: int, height: int) -> tuple[float, float]:
    """Return the resize factors of an image that keeps its size."""
    return 1.0, 1.0


@dataclass(frozen=True)
class Anchors:
    """Range of a detector's anchors, and the option that moves it."""

    smallest: float  # side length of the smallest square anchor in the resized image, in pixels
    largest: float
    head: str  # the head that has the anchors
    option: str  # of the anchor generator, which scales all sizes; empty if there is none
    values: tuple[float, ...]  # of the option

    def __str__(self) -> str:
        return f'from {self.smallest:g} to {self.largest:g} pixels'

    def scaled(self, factor: float) -> 'Anchors':
        """Multiply their sizes."""
        values = tuple(value * factor for value in self.values)
        smallest, largest = self.smallest * factor, self.largest * factor
        return replace(self, smallest=smallest, largest=largest, values=values)

    def include(self, sizes: np.ndarray) -> np.ndarray:
        """Return which sizes of boxes are in the range."""
        return (self.smallest <= sizes) & (sizes <= self.largest)

    def share(self, sizes: np.ndarray) -> float:
        """Compute the fraction of sizes in the range; 1 if there are none."""
        return float(self.include(sizes).mean()) if len(sizes) else 1.0

    def moved(self, sizes: np.ndarray, enough: float) -> 'Anchors':
        """Scale them to cover most boxes; the same if they cover enough, or no others cover more.

        Args:
            sizes: Square roots of the boxes' areas, in pixels of the resized image.
            enough: Fraction of the boxes.
        """
        factors = [scale / self.values[0] for scale in SCALES]
        # Of equally good ones, the nearest.
        scaled = [self.scaled(each) for each in sorted(factors, key=lambda x: abs(math.log(x)))]
        best = max(scaled, key=lambda each: each.share(sizes))
        is_better = best.share(sizes) > self.share(sizes) < enough
        return best if is_better else self


# Faster R-CNN with FPN: base sizes 4 to 64, and one scale.
STANDARD_ANCHORS = Anchors(smallest=32, largest=512, head='rpn_head', option='scales', values=(8,))


@dataclass(frozen=True)
class TrainingConfig:
    """The parts of a config that the data is compared with."""

    classes: Sequence[str] | None = None  # None for those of the annotation file
    filter_cfg: dict[str, Any] = field(default_factory=dict)  # CocoDataset drops images by it
    rescale: Rescale = keep_size  # at test time
    anchors: Anchors | None = STANDARD_ANCHORS  # None if the detector has none
    # Whether images are loaded with more than 8 bits, or their values scaled.
    scales_values: bool = False


def read_training_config(source: Path | Config) -> TrainingConfig:
    """Read a config of MMDetection; raise ValueError if it lacks a training dataset or classes."""
    cfg = source if isinstance(source, Config) else load_config(source)
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{cfg.filename} has no train_dataloader.')
    register_all_modules(init_default_scope=False)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(
        {**innermost_dataset(cfg.train_dataloader.dataset), 'lazy_init': True, 'pipeline': []}
    )
    classes = dataset.metainfo.get('classes')
    if not classes or isinstance(classes, str):
        raise ValueError(
            f"{cfg.filename}: metainfo of the training data must have classes=('name', ...), a "
            f'tuple even of one name, but they are {classes!r}.'
        )
    resized = cfg.get('test_dataloader') or cfg.train_dataloader
    pipeline = innermost_dataset(resized.dataset)['pipeline']
    return TrainingConfig(
        classes=list(classes),
        filter_cfg=dataset.filter_cfg or {},
        rescale=_find_rescaling(pipeline),
        anchors=read_anchors(cfg.model),
        scales_values=any(
            'Normalize' in str(each['type']) or each.get('color_type', 'color') != 'color'
            for each in pipeline
        ),
    )


def _find_rescaling(pipeline: list[ConfigDict]) -> Rescale:
    resizes = [transform for transform in pipeline if 'Resize' in str(transform['type'])]
    if not resizes:
        return keep_size
    resize: BaseTransform = TRANSFORMS.build(resizes[0])

    @cache
    def rescale(width: int, height: int) -> tuple[float, float]:
        return resize({'img': np.zeros((height, width), np.uint8)})['scale_factor']

    return rescale


def read_anchors(model: ConfigDict) -> Anchors | None:
    """Find the anchors of the config of a model; None if no head of it has any."""
    for head in ('rpn_head', 'bbox_head'):
        generator = (model.get(head) or {}).get('anchor_generator') or {}
        # Detectors without anchors may have points in the same place.
        base_anchors = generator and getattr(TASK_UTILS.build(generator), 'base_anchors', None)
        if not base_anchors:
            continue
        corners = torch.cat(base_anchors)
        sides = (corners[:, 2:] - corners[:, :2]).prod(dim=1).sqrt()
        option = next((key for key in ('scales', 'octave_base_scale') if generator.get(key)), '')
        value = generator.get(option, STANDARD_ANCHORS.values)
        return Anchors(
            # Rounded to hide the error of 32-bit square roots.
            smallest=round(sides.min().item(), 2),
            largest=round(sides.max().item(), 2),
            head=head,
            option=option,
            values=tuple(value) if isinstance(value, Sequence) else (value,),
        )
    return None

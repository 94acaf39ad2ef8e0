"""What a config does with a dataset: its classes, filters, image scale and anchors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

import mmdet_detnet  # noqa: F401  (lets `_base_ = 'mmdet_detnet::...'` be found)
from mmdet_detnet.training.checks import innermost_dataset

from .anchors import STANDARD_ANCHORS, Anchors, read_anchors
from .annotation_file import AnnotationFile, Record
from .boxes import Kept
from .problems import Problem, problem_of

ORIGINAL = 'in the original image'
# Usual long side in MMDetection.
USUAL_SIDE = 1333

Rescale = Callable[[int, int], tuple[float, float]]


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
        num_colors: Number of classes that can be drawn; None if there is no limit.
        scales_values: Whether images are loaded with more than 8 bits, or their values scaled.
    """

    classes: Sequence[str] | None = None
    filter_cfg: dict[str, Any] = field(default_factory=dict)
    rescale: Rescale = keep_size
    scale: str = ORIGINAL
    anchors: Anchors | None = STANDARD_ANCHORS
    num_colors: int | None = None
    scales_values: bool = False


def read_training_config(source: Path | Config) -> TrainingConfig:
    """Read a config of MMDetection.

    Args:
        source: A config or config file.

    Raises:
        ValueError: If it has no training dataset, or if the classes are missing or a single
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
    pipeline = innermost_dataset(resized.dataset)['pipeline']
    rescale = _find_rescaling(pipeline)
    palette = dataset.metainfo.get('palette')
    color = (cfg.get('visualizer') or {}).get('bbox_color')
    return TrainingConfig(
        classes=list(classes),
        filter_cfg=dataset.filter_cfg or {},
        rescale=rescale,
        scale=ORIGINAL if rescale is keep_size else "after the config's resizing",
        anchors=read_anchors(cfg.model),
        num_colors=len(palette) if isinstance(palette, list) and color is None else None,
        scales_values=any(_scales_values(transform) for transform in pipeline),
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


def _scales_values(transform: ConfigDict) -> bool:
    return 'Normalize' in str(transform['type']) or transform.get('color_type', 'color') != 'color'


def check_colors(training: TrainingConfig) -> list[Problem]:
    """Warn of classes without a color: MMDetection stops when it draws a box of theirs."""
    without = (training.classes or [])[training.num_colors :] if training.num_colors else []
    return problem_of(
        'class-without-color',
        f"classes after the {training.num_colors} of the dataset's palette. Drawing their "
        "detections stops with an AssertionError. Add visualizer = dict(bbox_color='random', "
        "mask_color='random') to the config.",
        without,
        is_warning=True,
    )


def check_proportions(
    file: AnnotationFile, rescale: Rescale
) -> tuple[AnnotationFile, list[Problem]]:
    """Find images so long and narrow that resizing leaves no pixel of their short side.

    Args:
        file: Records with all fields.
        rescale: Returns the resize factors of width and height.

    Returns:
        The records without these images, and problems.
    """
    vanishing = [image for image in file.images if _vanishes(image, rescale)]
    problems = problem_of(
        'extreme-proportions',
        'images without pixels after resizing. Training stops. Skipped in all further checks.',
        [f'{each["file_name"]} ({each["width"]} x {each["height"]})' for each in vanishing],
    )
    return replace(file, images=[each for each in file.images if each not in vanishing]), problems


def _vanishes(image: Record, rescale: Rescale) -> bool:
    short, long = sorted((int(image['width']), int(image['height'])))
    if long > 2 * USUAL_SIDE * short:
        return True
    try:
        rescale(int(image['width']), int(image['height']))
    except cv2.error:
        return True
    return False


def measure_boxes(kept: Kept, rescale: Rescale) -> np.ndarray:
    """Compute the square roots of the boxes' areas in the resized images, in pixels."""
    areas = []
    for annotation, image in kept.boxes:
        across, down = rescale(int(image['width']), int(image['height']))
        _, _, width, height = annotation['bbox']
        areas.append(width * across * height * down)
    return np.sqrt(areas)

"""What a config does with a dataset: its classes, filters, image scale and anchors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TASK_UTILS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmdet_detnet.config import load_config
from mmdet_detnet.training.checks import innermost_dataset

from .annotation_rules import AnnotationFile, Boxes, Record
from .records import Problem, problem_of

ORIGINAL = 'in the original image'
# Usual long side in MMDetection.
USUAL_SIDE = 1333
# Candidate scales of anchors; 8 is Faster R-CNN's.
SCALES = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Suggest anchors if fewer than this fraction of the boxes are in their range.
ENOUGH = 0.5

Rescale = Callable[[int, int], tuple[float, float]]


def keep_size(width: float, height: float) -> tuple[float, float]:
    """Return the resize factors of an image that keeps its size."""
    return 1.0, 1.0


@dataclass(frozen=True)
class Anchors:
    """Range of a detector's anchors, and the option that moves it.

    Attributes:
        smallest: Side length of the smallest square anchor, in pixels of the resized image.
        largest: Side length of the largest.
        head: Head of the model that has the anchors.
        option: Option of the anchor generator that scales all sizes, or empty.
        values: Values of the option.
    """

    smallest: float
    largest: float
    head: str
    option: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f'from {self.smallest:g} to {self.largest:g} pixels'

    def scaled(self, factor: float) -> 'Anchors':
        """Multiply their sizes."""
        values = tuple(value * factor for value in self.values)
        return replace(
            self, smallest=self.smallest * factor, largest=self.largest * factor, values=values
        )

    def include(self, sizes: np.ndarray) -> np.ndarray:
        """Tell which sizes of boxes are in the range."""
        return (self.smallest <= sizes) & (sizes <= self.largest)


# Faster R-CNN with FPN: base sizes 4 to 64, and one scale.
STANDARD_ANCHORS = Anchors(smallest=32, largest=512, head='rpn_head', option='scales', values=(8,))


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
    """Read a config of MMDetection; raise ValueError if it lacks a training dataset or classes."""
    cfg = source if isinstance(source, Config) else load_config(source)
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
        generator = (model.get(head) or {}).get('anchor_generator')
        if generator is None:
            continue
        base_anchors = getattr(TASK_UTILS.build(generator), 'base_anchors', None)
        # Detectors without anchors may have points in the same place.
        if base_anchors is None:
            continue
        corners = torch.cat(base_anchors)
        sides = (corners[:, 2:] - corners[:, :2]).prod(dim=1).sqrt()
        option = next((key for key in ('scales', 'octave_base_scale') if generator.get(key)), '')
        value = generator.get(option, STANDARD_ANCHORS.values)
        # Rounded to hide the error of 32-bit square roots.
        return Anchors(
            smallest=round(sides.min().item(), 2),
            largest=round(sides.max().item(), 2),
            head=head,
            option=option,
            values=tuple(value) if isinstance(value, Sequence) else (value,),
        )
    return None


def share_inside(sizes: np.ndarray, anchors: Anchors) -> float:
    """Compute the fraction of sizes of boxes in the range of the anchors; 1 if there are none."""
    return float(anchors.include(sizes).mean()) if len(sizes) else 1.0


def choose_factor(sizes: np.ndarray, anchors: Anchors) -> float:
    """Choose the factor of the anchors' sizes with which they cover most boxes.

    It leads to one of ``SCALES``; of equally good ones, it is the nearest to 1.
    """
    factors = [scale / anchors.values[0] for scale in SCALES]
    return max(
        factors,
        key=lambda each: (share_inside(sizes, anchors.scaled(each)), -abs(math.log(each))),
    )


def suggest_anchors(sizes: np.ndarray, anchors: Anchors) -> str:
    """Suggest the scale of the anchors that covers most boxes; nothing if the current ones fit.

    Args:
        sizes: Square roots of the boxes' areas, in pixels of the resized image.
        anchors: Range of the current anchors.
    """
    share = share_inside(sizes, anchors)
    if share >= ENOUGH:
        return ''
    factor = choose_factor(sizes, anchors)
    better = anchors.scaled(factor)
    if share_inside(sizes, better) <= share:
        return 'No other anchor scale covers more boxes: change the image scale instead.'
    text = f'Anchors {better} would cover {share_inside(sizes, better):.0%} of the boxes'
    if not anchors.option:
        return f'{text}: multiply their sizes by {factor:g}.'
    values = ', '.join(f'{value:g}' for value in better.values)
    value = f'[{values}]' if anchors.option == 'scales' else values
    line = f'model = dict({anchors.head}=dict(anchor_generator=dict({anchors.option}={value})))'
    return f'{text}: {line}.'


def check_sizes(boxes: Boxes, sizes: np.ndarray, anchors: Anchors) -> list[Problem]:
    """Warn if most of the kept boxes, of these sizes, are smaller or larger than all anchors."""
    suggestion = suggest_anchors(sizes, anchors)
    is_outside = ~anchors.include(sizes)
    ids = zip(boxes.ids(is_outside), sizes[is_outside], strict=True)
    return problem_of(
        'anchor-sizes',
        f'boxes smaller than {anchors.smallest:g} or larger than {anchors.largest:g} pixels, the '
        f'range of the anchors. {suggestion}',
        [f'{number} ({size:.0f} pixels)' for number, size in ids] if suggestion else [],
        is_warning=True,
    )


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

    Returns:
        The records without these images, and problems.
    """
    images: list[Record] = []
    vanishing: list[Record] = []
    for image in file.images:
        (vanishing if _vanishes(image, rescale) else images).append(image)
    problems = problem_of(
        'extreme-proportions',
        'images without pixels after resizing. Training stops. Skipped in all further checks.',
        [f'{each["file_name"]} ({each["width"]} x {each["height"]})' for each in vanishing],
    )
    return replace(file, images=images), problems


def _vanishes(image: Record, rescale: Rescale) -> bool:
    width, height = int(image['width']), int(image['height'])
    if max(width, height) > 2 * USUAL_SIDE * min(width, height):
        return True
    try:
        rescale(width, height)
    except cv2.error:
        return True
    return False


def measure_boxes(boxes: Boxes, rescale: Rescale) -> np.ndarray:
    """Compute the square roots of the boxes' areas in the resized images, in pixels."""
    sizes = boxes.image_sizes.astype(int).tolist()
    factors = np.array([rescale(width, height) for width, height in sizes], float).reshape(-1, 2)
    width, height = boxes.boxes[:, 2:].T
    return np.sqrt(width * factors[:, 0] * height * factors[:, 1])

"""Compare the sizes of boxes and anchors, and suggest better anchors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine.config import ConfigDict

from .boxes import Kept
from .problems import Problem, problem_of

# Candidate scales; 8 is Faster R-CNN's.
SCALES = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Suggest anchors if fewer than this fraction of the boxes are in their range.
ENOUGH = 0.5


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


# Faster R-CNN with FPN: base sizes 4 to 64, and one scale.
STANDARD_ANCHORS = Anchors(smallest=32, largest=512, head='rpn_head', option='scales', values=(8,))


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


def share_inside(sizes: np.ndarray, anchors: Anchors, factor: float = 1) -> float:
    """Compute the fraction of boxes whose size is within the range of the anchors.

    Args:
        sizes: Square roots of the boxes' areas, in pixels of the resized image.
        anchors: Range of the anchors.
        factor: Factor of the range.

    Returns:
        The fraction; 1 if there are no boxes.
    """
    return float(_is_inside(sizes, anchors, factor).mean()) if len(sizes) else 1.0


def _is_inside(sizes: np.ndarray, anchors: Anchors, factor: float = 1) -> np.ndarray:
    return (anchors.smallest * factor <= sizes) & (sizes <= anchors.largest * factor)


def choose_factor(sizes: np.ndarray, anchors: Anchors) -> float:
    """Choose the factor of the anchors' sizes with which they cover most boxes.

    Args:
        sizes: Square roots of the boxes' areas, in pixels of the resized image.
        anchors: Range of the current anchors.

    Returns:
        The factor that leads to one of ``SCALES``, of equally good ones the nearest to 1.
    """
    present = anchors.values[0]

    def quality(scale: float) -> tuple[float, float]:
        return share_inside(sizes, anchors, scale / present), -abs(math.log(scale / present))

    return max(SCALES, key=quality) / present


def suggest_anchors(sizes: np.ndarray, anchors: Anchors) -> str:
    """Suggest the scale of the anchors that covers most boxes.

    Args:
        sizes: Square roots of the boxes' areas, in pixels of the resized image.
        anchors: Range of the current anchors.

    Returns:
        Sentences with a line for the config; empty if the current anchors fit.
    """
    if share_inside(sizes, anchors) >= ENOUGH:
        return ''
    factor = choose_factor(sizes, anchors)
    share = share_inside(sizes, anchors, factor)
    if share <= share_inside(sizes, anchors):
        return 'No other anchor scale covers more boxes: change the image scale instead.'
    text = (
        f'Anchors from {anchors.smallest * factor:g} to {anchors.largest * factor:g} pixels would '
        f'cover {share:.0%} of the boxes'
    )
    if not anchors.option:
        return f'{text}: multiply their sizes by {factor:g}.'
    values = ', '.join(f'{value * factor:g}' for value in anchors.values)
    value = f'[{values}]' if anchors.option == 'scales' else values
    line = f'model = dict({anchors.head}=dict(anchor_generator=dict({anchors.option}={value})))'
    return f'{text}: {line}.'


def check_sizes(kept: Kept, sizes: np.ndarray, anchors: Anchors) -> list[Problem]:
    """Warn if most boxes are smaller or larger than all anchors.

    Args:
        kept: Records that CocoDataset keeps.
        sizes: Square roots of the areas of its boxes, in pixels of the resized image.
        anchors: Range of the anchors.
    """
    suggestion = suggest_anchors(sizes, anchors)
    outside = [
        f'{annotation["id"]} ({size:.0f} pixels)'
        for (annotation, _), size in zip(kept.boxes, sizes, strict=True)
        if not _is_inside(size, anchors)
    ]
    return problem_of(
        'anchor-sizes',
        f'boxes smaller than {anchors.smallest:g} or larger than {anchors.largest:g} pixels, the '
        f'range of the anchors. {suggestion}',
        outside if suggestion else [],
        is_warning=True,
    )

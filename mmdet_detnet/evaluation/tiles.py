"""Detect in tiles of a large image, and merge what is found.

MMDetection's ``merge_results_by_nms`` needs sahi to shift boxes. sahi would replace the two lines
for it here, but requires ``opencv-python``, which clashes with ``opencv-python-headless``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmcv.ops import batched_nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_detnet.arguments import reject

MERGE_IOU = 0.5
# A box this close to the border of a tile may be a part of an object, as a fraction of the tile.
BORDER = 0.01
# Fraction of such a box inside a larger one, and of that one's score, from which it is a part.
PART_INSIDE, PART_SCORE = 0.8, 0.5


@dataclass(frozen=True)
class Tiles:
    """How a large image is cut.

    Attributes:
        size: Side of a tile, in pixels of the image.
        overlap: Overlap of neighboring tiles, as a fraction of their side. Objects that are smaller
            than the overlap are whole in one of the tiles.
    """

    size: int
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if self.size < 1:
            reject('Tiles', 'size', self.size, 'at least 1 pixel')
        if not 0 <= self.overlap < 1:
            reject('Tiles', 'overlap', self.overlap, 'in [0, 1)')

    def windows(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Return the tiles of an image as ``(x1, y1, x2, y2)``; the first is the whole image."""
        across, down = self._starts(width), self._starts(height)
        windows = [(0, 0, width, height)]
        if len(across) * len(down) > 1:
            windows += [
                (x, y, min(x + self.size, width), min(y + self.size, height))
                for y in down
                for x in across
            ]
        return windows

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        return [*range(0, last, max(1, int(self.size * (1 - self.overlap)))), last]


def merge(found: Sequence[InstanceData], windows: Sequence[tuple[int, ...]]) -> InstanceData:
    """Merge detections by NMS, without parts of objects that another window has whole.

    Args:
        found: Detections in each window, in its pixels.
        windows: The windows, the whole image first.

    Returns:
        Detections in pixels of the image.
    """
    shifted, cut = [], []
    whole = windows[0]
    for instances, window in zip(found, windows, strict=True):
        offset = instances.bboxes.new_tensor(window[:2]).repeat(2)
        moved = instances.clone()
        moved.bboxes = instances.bboxes + offset
        shifted.append(moved)
        cut.append(_are_at_border(moved.bboxes, window, whole))
    merged = InstanceData.cat(shifted)
    # Before NMS, in which a part with a higher score would replace the whole.
    merged = merged[~_are_parts(merged, torch.cat(cut))]
    nms = dict(type='nms', iou_threshold=MERGE_IOU)
    _, kept = batched_nms(merged.bboxes, merged.scores, merged.labels, nms)
    return merged[kept]


def _are_at_border(boxes: Tensor, window: Sequence[int], whole: Sequence[int]) -> Tensor:
    """Return which boxes are at those borders of a tile that are inside the image."""
    margin = BORDER * min(window[2] - window[0], window[3] - window[1])
    are_at = torch.zeros(len(boxes), dtype=torch.bool)
    for side in range(4):
        if window[side] != whole[side]:
            are_at |= (boxes[:, side] - window[side]).abs() <= margin
    return are_at


def _are_parts(instances: InstanceData, are_cut: Tensor) -> Tensor:
    """Return which boxes at borders are mostly inside a larger box of the same class."""
    boxes, scores, labels = instances.bboxes, instances.scores, instances.labels
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    are_parts = are_cut.clone()
    inside = bbox_overlaps(boxes[are_cut], boxes, mode='iof') >= PART_INSIDE
    inside &= areas > areas[are_cut, None]
    inside &= labels == labels[are_cut, None]
    inside &= scores >= PART_SCORE * scores[are_cut, None]
    are_parts[are_cut] = inside.any(1)
    return are_parts

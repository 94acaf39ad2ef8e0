"""Soft-NMS (https://arxiv.org/abs/1704.04503)."""

import numpy as np
import torch
from torch import Tensor

METHODS = ('naive', 'linear', 'gaussian')


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap better boxes, one after the other.

    Each choice depends on the scores left by the previous ones, so this is a loop in NumPy.

    Args:
        boxes: Corners (x1, y1, x2, y2) on the CPU, ``(num_boxes, 4)``.
        scores: ``(num_boxes,)``.
        dets: Receives the corners and new scores of the kept boxes in its first rows,
            ``(num_boxes, 5)``.
        iou_threshold: Minimum IoU at which the naive and linear methods lower a score.
        sigma: Width of the Gaussian method.
        min_score: Boxes with a new score below this are dropped.
        method: Index in ``METHODS``.
        offset: Added to widths and heights.

    Returns:
        Indices of the kept boxes, in the order of ``dets``.
    """
    corners = boxes.detach().float().numpy()
    current = scores.detach().float().numpy().copy()
    areas = _areas(corners, offset)
    left = np.arange(len(corners))
    kept = []
    while len(left):
        best = left[current[left].argmax()]
        kept.append(best)
        left = left[left != best]
        iou = _iou(corners, areas, best, left, offset)
        current[left] *= _weights(iou, iou_threshold, sigma, METHODS[method])
        left = left[~(current[left] < min_score)]
    kept = torch.tensor(kept, dtype=torch.long)
    dets[: len(kept), :4] = boxes[kept]
    dets[: len(kept), 4] = torch.from_numpy(current)[kept]
    return kept


def _areas(corners: np.ndarray, offset: int) -> np.ndarray:
    x1, y1, x2, y2 = corners.T
    return (x2 - x1 + offset) * (y2 - y1 + offset)


def _iou(
    corners: np.ndarray, areas: np.ndarray, one: int, others: np.ndarray, offset: int
) -> np.ndarray:
    low = np.maximum(corners[one, :2], corners[others, :2])
    high = np.minimum(corners[one, 2:], corners[others, 2:])
    intersection = np.maximum(high - low + np.float32(offset), 0).prod(axis=1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return intersection / (areas[one] + areas[others] - intersection)


def _weights(iou: np.ndarray, iou_threshold: float, sigma: float, method: str) -> np.ndarray:
    if method == 'gaussian':
        return np.exp(-(iou * iou) / np.float32(sigma))
    overlapped = 1 - iou if method == 'linear' else np.zeros_like(iou)
    return np.where(iou >= np.float32(iou_threshold), overlapped, np.float32(1))

"""Top-k, thresholds and NMS on whole batches, with static numbers of boxes.

A dropped box keeps its place and gets :data:`NO_SCORE`.
"""

import torch.nn.functional as F
from torch import Tensor

from .operators import nms_mask

# Below every probability.
NO_SCORE = -1.0


def take_best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Select the best boxes of each image, in descending order.

    Args:
        scores: ``(B, n)``.
        number: Number of boxes, even if there are fewer. TensorRT needs a constant.

    Returns:
        Scores and indices, ``(B, number)`` each. Missing boxes have NO_SCORE and any index.
    """
    values, indices = F.pad(scores, (0, number), value=NO_SCORE).topk(number)
    return values, indices.clamp(max=scores.shape[1] - 1)


def take(values: Tensor, indices: Tensor) -> Tensor:
    """Select values ``(B, n)`` or ``(B, n, k)`` of each image by indices ``(B, m)``."""
    if values.dim() == 3:
        indices = indices[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, indices)


def drop_small(boxes: Tensor, scores: Tensor, min_bbox_size: float) -> Tensor:
    """Remove the scores of small boxes.

    Args:
        boxes: Corners in pixels, ``(B, n, 4)``.
        scores: ``(B, n)``.
        min_bbox_size: Width and height that a box must exceed; negative for no limit.

    Returns:
        The other scores, and NO_SCORE, ``(B, n)``.
    """
    if min_bbox_size < 0:
        return scores
    is_large = (boxes[..., 2:] - boxes[..., :2] > min_bbox_size).all(-1)
    return scores.where(is_large, NO_SCORE)


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, num_parts: int = 1
) -> Tensor:
    """Run NMS within the groups of each image.

    Like mmcv's ``batched_nms``, it moves the groups apart before it compares boxes. Coordinates are
    rounded in the same way, so both agree to the last bit.

    Args:
        boxes: Corners in pixels, ``(B, n, 4)``.
        scores: ``(B, n)``.
        groups: Level or class of each box, ``(n,)`` or ``(B, n)``.
        iou_threshold: A box is dropped if its IoU with a better one of its group exceeds this.
        num_parts: Number of equal parts, each of whole groups, that the boxes of an image can be
            split into. It saves comparisons.

    Returns:
        The scores of kept boxes, else NO_SCORE, ``(B, n)``.
    """
    images, number = scores.shape
    is_in = scores > NO_SCORE
    largest = boxes.where(is_in[..., None], 0).amax(dim=(1, 2))
    moved = boxes + (groups * (largest[:, None] + 1))[..., None]
    rows = images * num_parts, number // num_parts
    keep = nms_mask(moved.reshape(*rows, 4), scores.reshape(rows), iou_threshold, NO_SCORE)
    return scores.where(keep.reshape(images, number), NO_SCORE)


def pack_detections(
    boxes: Tensor, scores: Tensor, labels: Tensor, number: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Select the detections of each image.

    Args:
        boxes: Corners in pixels, ``(B, n, 4)``.
        scores: ``(B, n)``.
        labels: ``(B, n)``.
        number: Maximum number of detections per image.

    Returns:
        Boxes ``(B, number, 4)``, scores and labels ``(B, number)``, the best first, and their
        number, ``(B,)``. Beyond it, boxes and scores are 0 and labels -1.
    """
    scores, indices = take_best(scores, number)
    is_in = scores > NO_SCORE
    boxes = take(boxes, indices).where(is_in[..., None], 0)
    labels = take(labels, indices).where(is_in, -1)
    return boxes, scores.where(is_in, 0), labels, is_in.sum(1)

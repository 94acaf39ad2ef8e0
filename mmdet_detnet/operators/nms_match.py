"""Group boxes around those that NMS keeps."""

import torch
from torch import Tensor

from .nms import BLOCK_SIZE, box_iou, keep_best


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each box with the best kept box that it overlaps.

    Args:
        dets: Corners (x1, y1, x2, y2) and score, ``(num_boxes, 5)``.
        iou_threshold: A box belongs to a better one if their IoU is at least this.

    Returns:
        Indices of the boxes of each group, the kept box first, then the others by score.
    """
    order = dets[:, 4].sort(descending=True).indices
    boxes = dets[order, :4]
    keep = keep_best(boxes, lambda a, b: box_iou(a, b) >= iou_threshold)
    owners, others = keep.nonzero().squeeze(1), (~keep).nonzero().squeeze(1)
    if len(dets) == 0:
        return []
    groups = [[index] for index in order[owners].tolist()]
    for block in others.split(BLOCK_SIZE):
        overlap = box_iou(boxes[block], boxes[owners]) >= iou_threshold
        first = (overlap & (owners < block[:, None])).to(torch.uint8).argmax(1)
        for group, index in zip(first.tolist(), order[block].tolist(), strict=True):
            groups[group].append(index)
    return groups

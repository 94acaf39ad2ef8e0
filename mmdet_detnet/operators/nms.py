"""Greedy non-maximum suppression without a loop over boxes."""

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

# Boxes that are compared at once; limits the memory and the iterations in a block.
BLOCK_SIZE = 512


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Keep boxes that do not overlap a better kept box too much.

    Uses torchvision's operator, which gives the same boxes, if it is installed.

    Args:
        boxes: Corners (x1, y1, x2, y2), ``(num_boxes, 4)``.
        scores: ``(num_boxes,)``.
        iou_threshold: A box is dropped if its IoU with a better kept box exceeds this.
        offset: Added to widths and heights; 1 if both corners belong to the box.

    Returns:
        Indices of the kept boxes, best first.
    """
    boxes, scores = boxes.detach(), scores.detach()
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes = boxes.float()
    # Compare in the boxes' precision, like mmcv: an IoU of 0.3 is not above 0.3.
    iou_threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    quick_nms = _torchvision_nms()
    if quick_nms is not None and offset == 0:
        return quick_nms(boxes, scores.to(boxes.dtype), iou_threshold)
    order = scores.sort(descending=True).indices
    boxes = boxes[order]
    keep = torch.ones_like(order, dtype=torch.bool)
    for members in _split_apart(boxes, offset):
        keep[members] = keep_best(
            boxes[members], lambda a, b: box_iou(a, b, offset) > iou_threshold
        )
    return order[keep]


@cache
def _torchvision_nms() -> Callable[[Tensor, Tensor, float], Tensor] | None:
    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        return None
    return nms


def _split_apart(boxes: Tensor, offset: int) -> Iterator[Tensor]:
    """Split boxes into groups that cannot overlap, such as the classes in ``batched_nms``.

    Small groups stay together; on a GPU all do, because their sizes would need a synchronization.

    Args:
        boxes: Corners, best box first, ``(num_boxes, 4)``.
        offset: Added to widths and heights.

    Yields:
        Indices of the boxes of a group, in order.
    """
    everything = torch.arange(len(boxes), device=boxes.device)
    if len(boxes) <= BLOCK_SIZE or boxes.device.type != 'cpu':
        yield everything
        return
    starts, order = boxes[:, 0].sort()
    reached = boxes[order, 2].cummax(0).values
    is_first = torch.ones_like(order, dtype=torch.bool)
    is_first[1:] = starts[1:] > reached[:-1] + offset
    firsts = is_first.nonzero().squeeze(1)
    packed = firsts // BLOCK_SIZE
    firsts = firsts[packed.diff(prepend=packed.new_tensor([-1])) > 0]
    sizes = firsts.diff(append=firsts.new_tensor([len(boxes)]))
    for members in order.split(sizes.tolist()):
        yield members.sort().values


def keep_best(boxes: Tensor, overlaps: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Suppress boxes greedily, block by block.

    Args:
        boxes: Corners, best box first, ``(num_boxes, 4)``.
        overlaps: Returns which of ``(m, 4)`` and ``(n, 4)`` boxes overlap too much, ``(m, n)``.

    Returns:
        Whether each box is kept, ``(num_boxes,)``.
    """
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for start in range(0, len(boxes), BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        rest = slice(start + BLOCK_SIZE, None)
        keep[block] = _keep_best_of_block(overlaps(boxes[block], boxes[block]), keep[block])
        if boxes.device.type == 'cpu':
            alive = keep[rest].nonzero().squeeze(1) + rest.start
            keep[alive] = ~overlaps(boxes[block][keep[block]], boxes[alive]).any(0)
        else:  # no data-dependent shape, which would synchronize with the GPU
            suppressed = overlaps(boxes[block], boxes[rest]) & keep[block, None]
            keep[rest] &= ~suppressed.any(0)
    return keep


def _keep_best_of_block(overlap: Tensor, alive: Tensor) -> Tensor:
    """Iterate to the fixed point: a box is kept if no better kept box overlaps it.

    Round k settles all boxes that depend on a chain of fewer than k better ones, so the iteration
    reaches the fixed point, which is the greedy result.
    """
    overlap = overlap.triu(1)
    keep = alive
    while True:
        kept = alive & ~(overlap & keep[:, None]).any(0)
        if torch.equal(kept, keep):
            return keep
        keep = kept


def box_iou(first: Tensor, second: Tensor, offset: int = 0) -> Tensor:
    """Compute the IoU of each box with each other, with mmcv's order of operations.

    Args:
        first: Corners (x1, y1, x2, y2), ``(m, 4)``.
        second: Corners, ``(n, 4)``.
        offset: Added to widths and heights.

    Returns:
        ``(m, n)``; NaN for two boxes without area.
    """
    # (m, n) each
    low = [torch.maximum(first[:, None, axis], second[:, axis]) for axis in (0, 1)]
    high = [torch.minimum(first[:, None, axis], second[:, axis]) for axis in (2, 3)]
    width, height = (
        end.sub_(start).add_(offset).clamp_(min=0) for start, end in zip(low, high, strict=True)
    )
    intersection = width.mul_(height)
    areas = [
        (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
        for boxes in (first, second)
    ]
    union = (areas[0][:, None] + areas[1]).sub_(intersection)
    return intersection.div_(union)

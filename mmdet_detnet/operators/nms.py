"""Non-maximum suppression: greedy, soft (https://arxiv.org/abs/1704.04503), and as groups."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mmdet_detnet.precision import widen

from . import torchvision_kernels

# Boxes compared at once with each other, then with all that are left; limits the memory.
BLOCK_SIZE = 128
# Boxes of a group that NMS considers alone; smaller groups stay together.
GROUP_SIZE = 512
SOFT_METHODS = ('naive', 'linear', 'gaussian')


def nms(
    boxes: Tensor,  # corners (x1, y1, x2, y2), (num_boxes, 4)
    scores: Tensor,  # (num_boxes,)
    iou_threshold: float,  # a box is dropped if its IoU with a better kept box exceeds this
    offset: int = 0,  # added to widths and heights; 1 if both corners belong to the box
) -> Tensor:
    """Keep boxes that do not overlap a better kept box too much.

    Returns:
        Indices of the kept boxes, best first; equal scores in the order of ``torch.sort``.
    """
    boxes = widen(boxes.detach())
    # Compare in the boxes' precision, like mmcv: an IoU of 0.3 is not above 0.3.
    iou_threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    order = scores.detach().sort(descending=True).indices
    boxes = boxes[order]
    kept = torchvision_kernels.nms(boxes, iou_threshold) if offset == 0 else None
    if kept is not None:
        return order[kept]
    groups = [
        members[keep_best(boxes[members], lambda a, b: box_iou(a, b, offset) > iou_threshold)]
        for members in _split_apart(boxes, offset)
    ]
    return order[torch.cat(groups).sort().values]


def _split_apart(boxes: Tensor, offset: int) -> Iterator[Tensor]:
    """Yield the indices of groups that cannot overlap, such as the classes in ``batched_nms``."""
    if len(boxes) <= GROUP_SIZE:
        yield torch.arange(len(boxes), device=boxes.device)
        return
    starts, order = boxes[:, 0].sort()
    reached = boxes[order, 2].cummax(0).values
    is_first = torch.ones_like(order, dtype=torch.bool)
    is_first[1:] = starts[1:] > reached[:-1] + offset
    firsts = is_first.nonzero().squeeze(1)
    packed = firsts // GROUP_SIZE
    firsts = firsts[packed.diff(prepend=packed.new_tensor([-1])) > 0]
    sizes = firsts.diff(append=firsts.new_tensor([len(boxes)]))
    for members in order.split(sizes.tolist()):
        yield members.sort().values


def keep_best(
    boxes: Tensor,  # corners, best box first, (num_boxes, 4)
    # Returns which of (m, 4) and (n, 4) boxes overlap too much, (m, n).
    overlaps: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Suppress boxes greedily, block by block.

    Returns:
        Indices of the kept boxes, in order.
    """
    left = torch.arange(len(boxes), device=boxes.device)
    kept = [left[:0]]
    while len(left):
        block, left = left[:BLOCK_SIZE], left[BLOCK_SIZE:]
        block = block[_keep_best_of_block(overlaps(boxes[block], boxes[block]))]
        kept.append(block)
        if len(left):
            left = left[~overlaps(boxes[block], boxes[left]).any(0)]
    return torch.cat(kept)


def _keep_best_of_block(overlap: Tensor) -> Tensor:
    """Go through a matrix of overlaps row by row; a row and the suppressed boxes are bits."""
    rows = np.packbits(overlap.cpu().numpy(), axis=1, bitorder='little')
    suppressed, kept = 0, []
    for index, row in enumerate(rows):
        if not suppressed >> index & 1:
            suppressed |= int.from_bytes(row.tobytes(), 'little')
            kept.append(index)
    return torch.tensor(kept, device=overlap.device)


def box_iou(
    first: Tensor,  # corners (x1, y1, x2, y2), (m, 4)
    second: Tensor,  # corners, (n, 4)
    offset: int = 0,  # added to widths and heights
) -> Tensor:
    """Compute the IoU of each box with each other, with mmcv's order of operations.

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


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each box with the best kept box that it overlaps.

    Args:
        dets: Corners (x1, y1, x2, y2) and score, ``(num_boxes, 5)``.
        iou_threshold: A box belongs to a better one if their IoU is at least this.

    Returns:
        Indices of the boxes of each group, the kept box first, then the others by score.
    """
    order = dets[:, 4].contiguous().sort(descending=True).indices
    boxes = dets[order, :4]
    owners = keep_best(boxes, lambda a, b: box_iou(a, b) >= iou_threshold)
    groups = [[index] for index in order[owners].tolist()]
    is_other = torch.ones_like(order, dtype=torch.bool)
    is_other[owners] = False
    for block in is_other.nonzero().squeeze(1).split(BLOCK_SIZE):
        if len(block):
            overlap = box_iou(boxes[block], boxes[owners]) >= iou_threshold
            first = (overlap & (owners < block[:, None])).to(torch.uint8).argmax(1)
            for group, index in zip(first.tolist(), order[block].tolist(), strict=True):
                groups[group].append(index)
    return groups


def softnms(
    boxes: Tensor,  # corners (x1, y1, x2, y2) on the CPU, (num_boxes, 4)
    scores: Tensor,  # (num_boxes,)
    # Receives the corners and new scores of the kept boxes in its first rows, (num_boxes, 5).
    dets: Tensor,
    iou_threshold: float,  # minimum IoU at which the naive and linear methods lower a score
    sigma: float,  # width of the Gaussian method
    min_score: float,  # boxes with a new score below this are dropped
    method: int,  # index in SOFT_METHODS
    offset: int,  # added to widths and heights
) -> Tensor:
    """Lower the scores of boxes that overlap better boxes, one after the other.

    Returns:
        Indices of the kept boxes, in the order of ``dets``.
    """
    corners = boxes.detach().float()
    # Box and score at each place. Of equal scores the first place wins, so that boxes have to
    # change places as in mmcv.
    order, current = np.arange(len(boxes)), scores.detach().float().numpy().copy()
    place, end = 0, len(boxes)
    factors: dict[int, np.ndarray] = {}
    while place < end:
        best = place + current[place:end].argmax()
        if np.isnan(current[best]):  # chosen only if it comes first, where nothing exceeds it
            best = place if np.isnan(current[place]) else place + np.nanargmax(current[place:end])
        for values in (order, current):
            values[[place, best]] = values[[best, place]]
        if order[place] not in factors:
            left = order[place:end]
            likely = left[np.argsort(-current[place:end], kind='stable')[:BLOCK_SIZE]]
            likely[0] = order[place]  # which it is, unless its score is NaN
            iou = box_iou(corners[likely], corners[left], offset)
            values = np.empty((len(likely), len(order)), np.float32)
            values[:, left] = _factors(iou, iou_threshold, sigma, SOFT_METHODS[method])
            factors = dict(zip(likely.tolist(), values, strict=True))
        rest = slice(place + 1, end)
        current[rest] *= factors[order[place]][order[rest]]
        is_low = current[rest] < min_score
        if is_low.any():
            end -= _drop(is_low, order[rest], current[rest])
        place += 1
    kept = torch.from_numpy(order[:end])
    dets[:end, :4] = boxes[kept]
    dets[:end, 4] = torch.from_numpy(current[:end])
    return kept


def _factors(iou: Tensor, iou_threshold: float, sigma: float, method: str) -> Tensor:
    if method == 'gaussian':
        return torch.exp(-(iou * iou) / sigma)
    lowered = 1 - iou if method == 'linear' else torch.zeros_like(iou)
    return lowered.where(iou >= iou_threshold, torch.ones_like(iou))


def _drop(is_low: np.ndarray, *arrays: np.ndarray) -> int:
    """Fill the places of dropped boxes with the last ones; returns the number of dropped."""
    number_kept = len(is_low) - np.count_nonzero(is_low)
    holes = is_low[:number_kept].nonzero()[0]
    last = number_kept + (~is_low[number_kept:]).nonzero()[0][::-1]
    for values in arrays:
        values[holes] = values[last]
    return len(is_low) - number_kept

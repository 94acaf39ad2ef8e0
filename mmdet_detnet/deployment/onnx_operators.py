"""Two operators whose results have static shapes.

NMS, and assigning RoIs to FPN levels, create tensors with data-dependent sizes, which
``torch.export`` cannot trace. Here, NMS returns a mask, and pooling takes all RoIs at once. They
run in PyTorch with mmcv's operators; :mod:`.onnx_translations` converts them to ONNX.
"""

from collections.abc import Callable

import torch
from mmcv.ops import nms, roi_align
from torch import Tensor


def _register(name: str, make_result: Callable[..., Tensor]) -> Callable[[Callable], Callable]:
    """Make a function an operator; another one makes a result of the same shape."""

    def register(function: Callable) -> Callable:
        if not hasattr(torch.library, 'custom_op'):  # before torch 2.4, which exports nothing
            return function
        operator = torch.library.custom_op(name, function, mutates_args=())
        operator.register_fake(make_result)
        return operator

    return register


def _make_mask(boxes: Tensor, scores: Tensor, *_: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@_register('mmdet_detnet::nms_mask', _make_mask)
def nms_mask(
    boxes: Tensor,  # corners (x1, y1, x2, y2), (num_rows, n, 4)
    scores: Tensor,  # (num_rows, n)
    iou_threshold: float,  # a box is dropped if its IoU with a better kept box exceeds this
    score_thr: float,  # boxes with a score up to this are dropped and suppress no others
) -> Tensor:
    """Suppress boxes, separately in each row.

    Returns:
        Whether each box is kept, bool ``(num_rows, n)``.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for row in range(len(boxes)):
        candidates = (scores[row] > score_thr).nonzero().squeeze(1)
        kept = nms(boxes[row, candidates], scores[row, candidates], iou_threshold)[1]
        keep[row, candidates[kept]] = True
    return keep


def _make_bins(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor,
    spatial_scales: list[float],
    output_size: list[int],
    *_: int,
) -> Tensor:
    return features[0].new_empty(rois.shape[0], features[0].shape[1], *output_size)


@_register('mmdet_detnet::roi_align_levels', _make_bins)
def roi_align_levels(
    features: list[Tensor],  # feature maps, each (N, C, H, W)
    rois: Tensor,  # index of the image and corners in pixels, (num_rois, 5)
    levels: Tensor,  # index of the feature map of each RoI, (num_rois,)
    spatial_scales: list[float],  # map pixels per image pixel for each map
    output_size: list[int],  # number of bins, (h, w)
    sampling_ratio: int,  # samples along each side of a bin; 0 for one per map pixel
    aligned: bool,  # whether to subtract half a pixel, for pixel centers
) -> Tensor:
    """Pool each RoI from the feature map of its level, averaging samples.

    Returns:
        ``(num_rois, C, h, w)``.
    """
    pooled = features[0].new_zeros(len(rois), features[0].shape[1], *output_size)
    for level, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        chosen = levels == level
        pooled[chosen] = roi_align(
            feature, rois[chosen], output_size, scale, sampling_ratio, 'avg', aligned
        )
    return pooled

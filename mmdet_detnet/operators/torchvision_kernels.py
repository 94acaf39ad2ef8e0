"""torchvision's kernels behind mmcv's operators, where a torchvision is installed that fits torch.

They give what the operators in PyTorch give. What these treat otherwise is kept from the kernels:
RoIs and offsets of NaN, RoIs that end before they start, and positions exactly one pixel outside of
a map, whose slope is zero in mmcv.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmdet_detnet.host import load_torchvision

from .roi_samples import RoIGrid

if TYPE_CHECKING:
    from .deform_conv import DeformConv

# Where its kernels are faster than ours: RoIAlign and deformable convolution, and NMS.
DEVICES = ('cuda',)
NMS_DEVICES = ('cuda', 'cpu')
FAR_OUTSIDE = -1e6


def serve(tensor: Tensor, backward: bool = False) -> bool:
    """Return whether RoIAlign and deformable convolution of a tensor are torchvision's.

    Their backward passes add in any order, and are not used where torch is to be deterministic.
    """
    if tensor.device.type not in DEVICES or load_torchvision() is None:
        return False
    return not (backward and torch.are_deterministic_algorithms_enabled())


def nms(boxes: Tensor, iou_threshold: float) -> Tensor | None:
    """Return the indices of the kept boxes, of boxes sorted by score; None without torchvision."""
    if boxes.device.type not in NMS_DEVICES or load_torchvision() is None:
        return None
    # Ranks for scores: torchvision sorts equal scores in another order than mmcv.
    ranks = torch.arange(len(boxes), 0, -1, dtype=boxes.dtype, device=boxes.device)
    return torch.ops.torchvision.nms(boxes, ranks, iou_threshold)


def roi_align_forward(feature_map: Tensor, rois: Tensor, grid: RoIGrid) -> Tensor:
    """Pool as :func:`.roi_align.average_forward`, in float32 or float64."""
    usable = grid.is_usable(rois)
    pooled = torch.ops.torchvision.roi_align(
        feature_map.contiguous(),
        rois.where(usable[:, None], rois.new_zeros(())),
        *(grid.spatial_scale, *grid.output_size, grid.sampling_ratio, grid.aligned),
    )
    return pooled.where(usable[:, None, None, None], pooled.new_zeros(()))


def roi_align_backward(gradient: Tensor, rois: Tensor, grid: RoIGrid, shape: torch.Size) -> Tensor:
    """Compute the gradient as :func:`.roi_align.average_backward`."""
    usable = grid.is_usable(rois)
    return torch.ops.torchvision._roi_align_backward(
        gradient.where(usable[:, None, None, None], gradient.new_zeros(())).contiguous(),
        rois.where(usable[:, None], rois.new_zeros(())),
        *(grid.spatial_scale, *grid.output_size, *shape, grid.sampling_ratio, grid.aligned),
    )


def deform_conv_forward(
    conv: 'DeformConv', input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None
) -> Tensor:
    """Convolve; offsets are ``(N, deform_groups, taps, 2, h, w)``, masks without the 2."""
    return torch.ops.torchvision.deform_conv2d(*_arguments(conv, input, weight, offset, mask))


def deform_conv_backward(
    conv: 'DeformConv',
    gradient: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients of the input, the offsets, the masks and the weights."""
    of_input, of_weight, of_offset, of_mask, _ = torch.ops.torchvision._deform_conv2d_backward(
        gradient.contiguous(), *_arguments(conv, input, weight, offset, mask)
    )
    return of_input, of_offset, of_mask, of_weight


def _arguments(
    conv: 'DeformConv', input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None
) -> tuple[Tensor | int | bool, ...]:
    inside = conv.locate(offset, *input.shape[2:])[2].unsqueeze(-3)
    offset = offset.where(inside, offset.new_tensor(FAR_OUTSIDE))
    return (
        input.contiguous(),
        weight.contiguous(),
        offset.flatten(1, 3),
        input.new_zeros(len(input), 1) if mask is None else mask.flatten(1, 2).contiguous(),
        weight.new_zeros(len(weight)),
        *(*conv.stride, *conv.padding, *conv.dilation),
        *(conv.groups, conv.deform_groups, mask is not None),
    )

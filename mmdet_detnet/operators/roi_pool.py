"""RoI pooling (https://arxiv.org/abs/1504.08083)."""

import torch
from torch import Tensor

from mmdet_detnet.precision import widen

from .roi_samples import CHUNK_SIZE, group_equal, round_up


def roi_pool_forward(
    input: Tensor,  # feature map, (N, C, H, W)
    # Index of the image and corners (x1, y1, x2, y2) in pixels of the image, (num_rois, 5).
    rois: Tensor,
    # Receives the features, (num_rois, C, h, w); 0 for bins without pixels, and for RoIs with NaNs.
    output: Tensor,
    # Receives the indices in the flat map (H, W), of the same shape; -1 for bins without pixels.
    argmax: Tensor,
    pooled_height: int,  # number h of bins
    pooled_width: int,  # number w of bins
    spatial_scale: float,  # map pixels per image pixel
) -> None:
    """Take the largest pixel of each bin of RoIs."""
    output.zero_()
    argmax.fill_(-1)
    rois = widen(rois)
    height, width = input.shape[2:]
    start_x, end_x = _bins(rois[:, 1], rois[:, 3], spatial_scale, pooled_width, width)
    start_y, end_y = _bins(rois[:, 2], rois[:, 4], spatial_scale, pooled_height, height)
    lengths = torch.stack([(end_x - start_x).amax(1), (end_y - start_y).amax(1)], dim=1)
    rows = input.permute(0, 2, 3, 1).flatten(1, 2)
    for (length_x, length_y), group in group_equal(round_up(lengths.clamp(min=0))):
        size = output[0].numel() * length_x * length_y
        for members in group.split(max(1, CHUNK_SIZE // size)):
            # (n, w, length_x) and (n, h, length_y)
            x, in_x = _line(start_x[members], end_x[members], length_x, width)
            y, in_y = _line(start_y[members], end_y[members], length_y, height)
            # (n, h, w, length_y * length_x)
            pixels = (y[:, :, None, :, None] * width + x[:, None, :, None, :]).flatten(3)
            inside = (in_y[:, :, None, :, None] & in_x[:, None, :, None, :]).flatten(3)
            images = rois[members, 0].long()[:, None, None, None]
            values = rows[images, pixels].masked_fill(~inside[..., None], -torch.inf)
            largest, slot = values.max(dim=3)
            is_empty = ~inside.any(3, keepdim=True)
            index = pixels.gather(3, slot).masked_fill(is_empty, -1)
            output[members] = largest.masked_fill(is_empty, 0).permute(0, 3, 1, 2)
            argmax[members] = index.permute(0, 3, 1, 2).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the map to ``grad_input``; ``argmax`` is as written by forward."""
    channels, height, width = grad_input.shape[1:]
    planes = rois[:, :1].nan_to_num().long() * channels + torch.arange(channels, device=rois.device)
    filled = argmax >= 0
    index = planes[:, :, None, None] * (height * width) + argmax
    gradient = widen(grad_output)
    total = gradient.new_zeros(grad_input.shape).flatten()
    total.index_add_(0, index[filled], gradient[filled])
    grad_input.copy_(total.view(grad_input.shape))


def _bins(
    first: Tensor, last: Tensor, spatial_scale: float, num_bins: int, extent: int
) -> tuple[Tensor, Tensor]:
    """Compute where bins start and end along an axis, ``(num_rois, num_bins)`` each.

    RoIs without area or with NaNs have empty bins.
    """
    start, end = first * spatial_scale, (last + 1) * spatial_scale
    size = (end - start) / num_bins
    valid = (size > 0)[:, None]
    bins = torch.arange(num_bins, device=first.device)
    starts = (bins * size[:, None] + start[:, None]).floor().clamp(0, extent)
    ends = ((bins + 1) * size[:, None] + start[:, None]).ceil().clamp(0, extent)
    return tuple(value.where(valid, value.new_zeros(())).long() for value in (starts, ends))


def _line(start: Tensor, end: Tensor, length: int, extent: int) -> tuple[Tensor, Tensor]:
    """List the pixels of bins along an axis, and which of them are inside."""
    pixels = start[..., None] + torch.arange(length, device=start.device)
    return pixels.clamp(max=extent - 1), pixels < end[..., None]

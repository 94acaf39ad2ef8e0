"""Deformable RoI pooling (https://arxiv.org/abs/1703.06211): RoIAlign with moved bins."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.precision import widen

from .roi_samples import CHUNK_SIZE, RoIGrid, group_equal, interpolate, sample_positions


def deform_roi_pool_forward(
    input: Tensor,  # feature map, (N, C, H, W)
    # Index of the image and corners (x1, y1, x2, y2) in pixels of the image, (num_rois, 5).
    rois: Tensor,
    # Offset of each bin, (x, y) as a fraction of the RoI, (num_rois, 2, h, w); zero if empty.
    offset: Tensor,
    output: Tensor,  # receives the features, (num_rois, C, h, w); 0 for RoIs without area
    pooled_height: int,  # number h of bins
    pooled_width: int,  # number w of bins
    spatial_scale: float,  # map pixels per image pixel
    sampling_ratio: int,  # samples along each side of a bin; 0 for one per map pixel
    gamma: float,  # factor of the offsets
) -> None:
    """Pool RoIs."""
    grid = RoIGrid((pooled_height, pooled_width), spatial_scale, sampling_ratio)
    output.copy_(_pool(input, rois, offset, grid, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of ``input`` and ``offset`` to ``grad_input`` and ``grad_offset``."""
    grid = RoIGrid((pooled_height, pooled_width), spatial_scale, sampling_ratio)
    input, offset = (tensor.detach().requires_grad_() for tensor in (input, offset))
    with torch.enable_grad():
        pooled = _pool(input, rois, offset, grid, gamma)
        gradients = torch.autograd.grad(pooled, (input, offset), grad_output.to(pooled.dtype))
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[1])


def _pool(input: Tensor, rois: Tensor, offset: Tensor, grid: RoIGrid, gamma: float) -> Tensor:
    """Pool as in forward; differentiable with respect to the map and the offsets."""
    input = widen(input)
    rois, offset = (tensor.to(input.dtype) for tensor in (rois, offset))
    rows = input.permute(0, 2, 3, 1).flatten(0, 2)
    samples = grid.scale(rois)[2]
    # The first part has both in the graph, even if no RoI can be pooled.
    nothing = rows[:0].sum() + offset[:0].sum()
    indices, parts = [], [rows.new_zeros(0, *grid.output_size, rows.shape[1]) + nothing]
    for number, group in group_equal(samples):
        size = grid.output_size[0] * grid.output_size[1] * number[0] * number[1] * 4
        for members in group.split(max(1, CHUNK_SIZE // size)):
            of_members = offset[members] if offset.numel() else None
            indices.append(members)
            parts.append(_pool_equal(input.shape, rows, rois[members], of_members, grid, gamma))
    empty = (samples == 0).any(1).nonzero().squeeze(1)
    parts.append(rows.new_zeros(len(empty), *grid.output_size, rows.shape[1]))
    order = torch.cat([*indices, empty]).argsort()
    return torch.cat(parts)[order].permute(0, 3, 1, 2)


def _pool_equal(
    shape: torch.Size,
    rows: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    grid: RoIGrid,
    gamma: float,
) -> Tensor:
    """Pool RoIs with the same number of samples; returns ``(num_rois, h, w, C)``."""
    height, width = shape[2:]
    starts, bins, samples = grid.scale(rois)
    x, y = (  # (n, w, sx) and (n, h, sy)
        sample_positions(starts[:, axis], bins[:, axis], samples[:, axis], num_bins)[0]
        for axis, num_bins in enumerate(grid.output_size[::-1])
    )
    y, x = torch.broadcast_tensors(y[:, :, None, :, None], x[:, None, :, None, :])
    if offset is not None:
        sizes = bins * bins.new_tensor(grid.output_size[::-1])
        moved = gamma * offset * sizes[:, :, None, None]  # (n, 2, h, w)
        x, y = (at + moved[:, axis, :, :, None, None] for axis, at in enumerate((x, y)))
    pixels, weights = interpolate(y, x, height, width)  # (n, h, w, sy, sx, 4)
    pixels = pixels + (rois[:, 0].long() * height * width).view(-1, 1, 1, 1, 1, 1)
    count = y.shape[3] * y.shape[4]
    pooled = F.embedding_bag(
        pixels.reshape(-1, 4 * count),
        rows,
        mode='sum',
        per_sample_weights=weights.reshape(-1, 4 * count) / count,
    )
    return pooled.view(len(rois), *grid.output_size, -1)

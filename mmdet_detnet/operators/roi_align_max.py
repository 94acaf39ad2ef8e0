"""RoIAlign with the largest sample of each bin."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .bilinear import interpolate
from .roi_samples import CHUNK_SIZE, RoIGrid, sample_positions


def max_forward(feature_map: Tensor, rois: Tensor, grid: RoIGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Find the largest sample in each bin of RoIs.

    Args:
        feature_map: ``(N, C, H, W)``.
        rois: Index of the image and corners in pixels of the image, ``(num_rois, 5)``.
        grid: Layout of bins and samples.

    Returns:
        The samples, their rows and their columns, ``(num_rois, C, h, w)`` each; 0, -1 and -1 for
        RoIs without area or with NaNs.
    """
    dtype = torch.promote_types(feature_map.dtype, torch.float32)
    feature_map, rois = feature_map.to(dtype), rois.to(dtype)
    samples = grid.scale(rois)[2]
    values = feature_map.new_zeros(len(rois), *grid.output_size, feature_map.shape[1])
    rows, columns = torch.full_like(values, -1), torch.full_like(values, -1)
    sampled = (samples > 0).all(1).nonzero().squeeze(1)
    if len(sampled):
        size = values[0].numel() * int(samples.max()) ** 2
        for members in sampled.split(max(1, CHUNK_SIZE // size)):
            values[members], rows[members], columns[members] = _largest(
                feature_map, rois[members], grid
            )
    return tuple(result.permute(0, 3, 1, 2) for result in (values, rows, columns))


def _largest(feature_map: Tensor, rois: Tensor, grid: RoIGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Find the largest samples, their rows and columns, ``(n, h, w, C)`` each."""
    channels, height, width = feature_map.shape[1:]
    axes = zip(
        *(value.unbind(1) for value in grid.scale(rois)), grid.output_size[::-1], strict=True
    )
    x, y = (sample_positions(*axis)[0] for axis in axes)  # (n, w, sx) and (n, h, sy)
    y, x = torch.broadcast_tensors(y[:, :, None, :, None], x[:, None, :, None, :])
    pixels, weights = interpolate(y, x, height, width)  # (n, h, w, sy, sx, 4)
    pixels = pixels + (rois[:, 0].long() * height * width)[:, None, None, None, None, None]
    values = F.embedding_bag(
        pixels.view(-1, 4),
        feature_map.permute(0, 2, 3, 1).reshape(-1, channels),
        mode='sum',
        per_sample_weights=weights.view(-1, 4),
    )
    largest, index = values.view(*y.shape[:3], -1, channels).max(dim=3)
    return largest, y.flatten(3).gather(3, index), x.flatten(3).gather(3, index)


def max_backward(
    gradient: Tensor, rois: Tensor, rows: Tensor, columns: Tensor, shape: torch.Size
) -> Tensor:
    """Compute the gradient of the feature map for :func:`max_forward`.

    Args:
        gradient: Gradient of the samples, ``(num_rois, C, h, w)``.
        rois: As in forward.
        rows: As returned by forward.
        columns: As returned by forward.
        shape: Shape (N, C, H, W) of the feature map.

    Returns:
        ``(N, C, H, W)``.
    """
    channels, height, width = shape[1:]
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    pixels, weights = interpolate(rows.to(dtype), columns.to(dtype), height, width)
    weights = weights * (rows != -1)[..., None] * gradient.to(dtype)[..., None]
    image = rois[:, 0].nan_to_num().long()[:, None]
    planes = image * channels + torch.arange(channels, device=rois.device)
    pixels = pixels + (planes * height * width)[:, :, None, None, None]
    total = weights.new_zeros(shape).flatten()
    return total.index_add_(0, pixels.flatten(), weights.flatten()).view(shape)

"""RoIAlign (https://arxiv.org/abs/1703.06870) as weighted sums of pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .roi_align_max import max_backward, max_forward
from .roi_samples import RoIGrid, make_lookups, make_shares

MAX_POOLING = 0


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool RoIs.

    A RoI with NaNs or without area has features of zero.

    Args:
        input: Feature map, ``(N, C, H, W)``.
        rois: Index of the image and corners (x1, y1, x2, y2) in pixels of the image,
            ``(num_rois, 5)``.
        output: Receives the features, ``(num_rois, C, h, w)``.
        argmax_y: Receives the row of the largest sample of each bin, with the shape of ``output``;
            only for maximum pooling.
        argmax_x: Receives its column.
        aligned_height: Number h of bins.
        aligned_width: Number w of bins.
        spatial_scale: Map pixels per image pixel.
        sampling_ratio: Samples along each side of a bin; 0 for one per map pixel.
        pool_mode: 0 for the largest sample of a bin, 1 for their average.
        aligned: Whether to subtract half a pixel, for pixel centers.
    """
    grid = RoIGrid((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    if pool_mode == MAX_POOLING:
        values, rows, columns = max_forward(input, rois, grid)
        argmax_y.copy_(rows)
        argmax_x.copy_(columns)
        output.copy_(values)
    else:
        output.copy_(average_forward(input, rois, grid))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Compute the gradient of the feature map.

    ``grad_output`` is that of the features, ``(num_rois, C, h, w)``; ``grad_input`` receives that
    of the map, ``(N, C, H, W)``. ``argmax_y`` and ``argmax_x`` are as written by forward, and the
    other arguments are those of forward.
    """
    if pool_mode == MAX_POOLING:
        grad_input.copy_(max_backward(grad_output, rois, argmax_y, argmax_x, grad_input.shape))
        return
    grid = RoIGrid((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    grad_input.copy_(average_backward(grad_output, rois, grid, grad_input.shape))


class RoIAlignAverage(torch.autograd.Function):
    """Differentiable average of the samples in bins; arguments as :func:`average_forward`."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, feature_map: Tensor, rois: Tensor, grid: RoIGrid
    ) -> Tensor:
        """Pool RoIs."""
        ctx.save_for_backward(rois)
        ctx.grid, ctx.shape = grid, feature_map.shape
        return average_forward(feature_map, rois, grid)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        """Compute the gradient of the feature map."""
        (rois,) = ctx.saved_tensors
        return average_backward(gradient, rois, ctx.grid, ctx.shape), None, None


def average_forward(feature_map: Tensor, rois: Tensor, grid: RoIGrid) -> Tensor:
    """Average the samples in the bins of RoIs.

    Each pixel of the map is a row of channels, and each bin a weighted sum of rows, computed by
    ``embedding_bag`` on all threads and whole vectors.

    Args:
        feature_map: ``(N, C, H, W)``, fastest in channels_last.
        rois: Index of the image and corners in pixels of the image, ``(num_rois, 5)``.
        grid: Layout of bins and samples.

    Returns:
        ``(num_rois, C, h, w)``, in float32 or float64.
    """
    dtype = torch.promote_types(feature_map.dtype, torch.float32)
    channels = feature_map.shape[1]
    rows = feature_map.to(dtype).permute(0, 2, 3, 1).reshape(-1, channels)  # (N * H * W, C)
    pooled = rows.new_zeros(len(rois), *grid.output_size, channels)
    for lookups in make_lookups(rois.to(dtype), grid, feature_map.shape):
        sums = F.embedding_bag(lookups.pixels, rows, mode='sum', per_sample_weights=lookups.weights)
        pooled[lookups.rois] = sums.view(len(lookups.rois), *pooled.shape[1:])
    return pooled.permute(0, 3, 1, 2)


def average_backward(gradient: Tensor, rois: Tensor, grid: RoIGrid, shape: torch.Size) -> Tensor:
    """Compute the gradient of the feature map for :func:`average_forward`.

    Args:
        gradient: Gradient of the features, ``(num_rois, C, h, w)``.
        rois: As in forward.
        grid: As in forward.
        shape: Shape (N, C, H, W) of the feature map.

    Returns:
        ``(N, C, H, W)``, in channels_last.
    """
    images, channels, height, width = shape
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    bins = gradient.to(dtype).permute(0, 2, 3, 1).reshape(-1, channels)  # (num_rois * h * w, C)
    pixels = bins.new_zeros(images * height * width, channels)
    num_bins = grid.output_size[0] * grid.output_size[1]
    for shares in make_shares(make_lookups(rois.to(dtype), grid, shape), num_bins):
        # The transposed embedding_bag: a bag for each pixel that was used.
        order = shares.pixels.argsort()
        used, counts = shares.pixels[order].unique_consecutive(return_counts=True)
        pixels[used] += F.embedding_bag(
            shares.bins[order],
            bins,
            counts.cumsum(0) - counts,
            mode='sum',
            per_sample_weights=shares.weights[order],
        )
    return pixels.view(images, height, width, channels).permute(0, 3, 1, 2)

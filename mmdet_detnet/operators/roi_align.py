"""RoIAlign (https://arxiv.org/abs/1703.06870) as weighted sums of pixels."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.host import advise_torchvision

from . import torchvision_kernels
from .roi_samples import CHUNK_SIZE, RoIGrid, make_lookups

AVERAGE_POOLING = 1


def roi_align_forward(
    input: Tensor,  # feature map, (N, C, H, W)
    # Index of the image and corners (x1, y1, x2, y2) in pixels of the image, (num_rois, 5).
    rois: Tensor,
    output: Tensor,  # receives the features, (num_rois, C, h, w)
    argmax_y: Tensor,  # unused
    argmax_x: Tensor,  # unused
    aligned_height: int,  # number h of bins
    aligned_width: int,  # number w of bins
    spatial_scale: float,  # map pixels per image pixel
    sampling_ratio: int,  # samples along each side of a bin; 0 for one per map pixel
    pool_mode: int,  # 1 for the average of the samples of a bin
    aligned: bool,  # whether to subtract half a pixel, for pixel centers
) -> None:
    """Pool RoIs; one with NaNs or without area has features of zero."""
    if pool_mode != AVERAGE_POOLING:
        raise NotImplementedError(
            "mmdet_detnet does not provide RoIAlign with pool_mode='max'; a compiled mmcv has it."
        )
    grid = RoIGrid((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
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
    """Write the gradient of the map to ``grad_input``."""
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


def average_forward(
    feature_map: Tensor,  # (N, C, H, W), fastest in channels_last
    rois: Tensor,  # index of the image and corners in pixels of the image, (num_rois, 5)
    grid: RoIGrid,  # layout of bins and samples
) -> Tensor:
    """Average the samples in the bins of RoIs.

    Each pixel of the map is a row of channels, and each bin a weighted sum of rows, computed by
    ``embedding_bag`` on all threads and whole vectors.

    Returns:
        ``(num_rois, C, h, w)``, in float32 or float64.
    """
    dtype = torch.promote_types(feature_map.dtype, torch.float32)
    feature_map, rois = feature_map.to(dtype), rois.to(dtype)
    if torchvision_kernels.serve(feature_map):
        return torchvision_kernels.roi_align_forward(feature_map, rois, grid)
    if feature_map.is_cuda:
        advise_torchvision()
    channels = feature_map.shape[1]
    rows = feature_map.permute(0, 2, 3, 1).reshape(-1, channels)  # (N * H * W, C)
    pooled = rows.new_zeros(len(rois), *grid.output_size, channels)
    for members, pixels, weights in make_lookups(rois, grid, feature_map.shape):
        sums = F.embedding_bag(pixels, rows, mode='sum', per_sample_weights=weights)
        pooled[members] = sums.view(len(members), *pooled.shape[1:])
    return pooled.permute(0, 3, 1, 2)


def average_backward(gradient: Tensor, rois: Tensor, grid: RoIGrid, shape: torch.Size) -> Tensor:
    """Compute the gradient of a map of a shape, ``(N, C, H, W)`` in channels_last."""
    images, channels, height, width = shape
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    gradient, rois = gradient.to(dtype), rois.to(dtype)
    if torchvision_kernels.serve(gradient, backward=True):
        return torchvision_kernels.roi_align_backward(gradient, rois, grid, shape)
    bins = gradient.permute(0, 2, 3, 1).reshape(-1, channels)  # (num_rois * h * w, C)
    of_map = bins.new_zeros(images * height * width, channels)
    for pixels, indices, weights in _shares(rois, grid, shape):
        # The transposed embedding_bag: a bag for each pixel that was used.
        order = pixels.argsort(stable=True)
        used, counts = pixels[order].unique_consecutive(return_counts=True)
        of_map[used] += F.embedding_bag(
            indices[order],
            bins,
            counts.cumsum(0) - counts,
            mode='sum',
            per_sample_weights=weights[order],
        )
    return of_map.view(images, height, width, channels).permute(0, 3, 1, 2)


def _shares(
    rois: Tensor, grid: RoIGrid, shape: torch.Size
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """List the pixels of many RoIs at once, at most ``CHUNK_SIZE`` at a time.

    Yields:
        Indices in the flat map (N, H, W), in the flat bins (num_rois, h, w), and weights, none of
        them zero; ``(n,)`` each.
    """
    collected: list[tuple[Tensor, Tensor, Tensor]] = []
    size = 0
    bins = torch.arange(grid.output_size[0] * grid.output_size[1], device=rois.device)
    for members, pixels, weights in make_lookups(rois, grid, shape):
        used = weights != 0
        indices = (members[:, None] * len(bins) + bins).view(-1, 1).expand_as(used)
        shares = pixels[used], indices[used], weights[used]
        size += len(shares[0])
        if collected and size > CHUNK_SIZE:
            yield tuple(map(torch.cat, zip(*collected, strict=True)))
            collected, size = [], len(shares[0])
        collected.append(shares)
    if collected:
        yield tuple(map(torch.cat, zip(*collected, strict=True)))

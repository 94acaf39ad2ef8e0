"""RoIAlign (https://arxiv.org/abs/1703.06870) as weighted sums of pixels."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.host import advise_torchvision
from mmdet_detnet.precision import widen

from . import torchvision_kernels
from .roi_samples import CHUNK_SIZE, RoIGrid, interpolate, make_lookups, sample_positions

MAX_POOLING = 0


def roi_align_forward(
    input: Tensor,  # feature map, (N, C, H, W)
    # Index of the image and corners (x1, y1, x2, y2) in pixels of the image, (num_rois, 5).
    rois: Tensor,
    output: Tensor,  # receives the features, (num_rois, C, h, w)
    # Receives the row of the largest sample of each bin, with the shape of output; only for maximum
    # pooling.
    argmax_y: Tensor,
    argmax_x: Tensor,  # receives its column
    aligned_height: int,  # number h of bins
    aligned_width: int,  # number w of bins
    spatial_scale: float,  # map pixels per image pixel
    sampling_ratio: int,  # samples along each side of a bin; 0 for one per map pixel
    pool_mode: int,  # 0 for the largest sample of a bin, 1 for their average
    aligned: bool,  # whether to subtract half a pixel, for pixel centers
) -> None:
    """Pool RoIs; one with NaNs or without area has features of zero."""
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
    """Write the gradient of the map to ``grad_input``; ``argmax_y``, ``argmax_x`` are forward's."""
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
    feature_map = widen(feature_map)
    rois = rois.to(feature_map.dtype)
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
    gradient = widen(gradient)
    rois = rois.to(gradient.dtype)
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


def max_forward(feature_map: Tensor, rois: Tensor, grid: RoIGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Find the largest sample in each bin of RoIs.

    Returns:
        The samples, their rows and their columns, ``(num_rois, C, h, w)`` each; 0, -1 and -1 for
        RoIs without samples.
    """
    feature_map = widen(feature_map)
    rois = rois.to(feature_map.dtype)
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
    """Compute the gradient of a map of a shape; ``rows`` and ``columns`` are those of forward."""
    channels, height, width = shape[1:]
    pixels, weights = interpolate(widen(rows), widen(columns), height, width)
    weights = weights * (rows != -1)[..., None] * widen(gradient)[..., None]
    image = rois[:, 0].nan_to_num().long()[:, None]
    planes = image * channels + torch.arange(channels, device=rois.device)
    pixels = pixels + (planes * height * width)[:, :, None, None, None]
    total = weights.new_zeros(shape).flatten()
    return total.index_add_(0, pixels.flatten(), weights.flatten()).view(shape)

"""Where RoIs sample a feature map: the pixels that make up their bins, and their weights."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Lookups at once; limits the memory to about 100 MB.
CHUNK_SIZE = 2**21


@dataclass(frozen=True)
class RoIGrid:
    """Bins and samples of a RoI."""

    output_size: tuple[int, int]  # number of bins, (h, w)
    spatial_scale: float = 1.0  # map pixels per image pixel
    sampling_ratio: int = 0  # samples along each side of a bin; 0 for one per map pixel
    aligned: bool = True  # whether to subtract half a pixel, for pixel centers

    def scale(self, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute first corners, bin sizes and numbers of samples, (x, y) each.

        Args:
            rois: ``(num_rois, 5)``.

        Returns:
            Three tensors ``(num_rois, 2)``; the numbers are 0 for RoIs that are not usable.
        """
        corners = rois[:, 1:] * self.spatial_scale - (0.5 if self.aligned else 0.0)
        starts, ends = corners.split(2, dim=1)
        sizes = ends - starts
        if not self.aligned:
            sizes = sizes.clamp(min=1)
        bins = sizes / sizes.new_tensor(self.output_size[::-1])
        samples = torch.full_like(bins, self.sampling_ratio) if self.sampling_ratio else bins.ceil()
        sampled = self.is_usable(rois) & (samples > 0).all(1)
        return starts, bins, samples.where(sampled[:, None], samples.new_zeros(())).long()

    def is_usable(self, rois: Tensor) -> Tensor:
        """Return which RoIs are finite and, if they may be empty, do not end before they start."""
        usable = rois.isfinite().all(1)
        return usable & (rois[:, 3:] >= rois[:, 1:3]).all(1) if self.aligned else usable


def make_lookups(
    rois: Tensor,  # index of the image and corners in pixels of the image, (num_rois, 5)
    grid: RoIGrid,  # layout of bins and samples
    shape: torch.Size,  # shape (N, C, H, W) of the feature map
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Compute, for each bin, the pixels whose weighted sum is the average of its samples.

    Sampling and bilinear interpolation are separable, so a bin has a line of pixels along each
    axis. A pixel shared by several samples is looked up once. RoIs with lines of similar length are
    processed together.

    Yields:
        Indices ``(n,)`` of some RoIs, and ``(n * h * w, k)`` indices in the flat map (N, H, W) and
        weights of the pixels of their bins; RoIs without area or with NaNs have none.
    """
    height, width = shape[2:]
    starts, bins, samples = grid.scale(rois)
    rows, columns = grid.output_size
    lengths = _line_lengths(bins, samples, bins.new_tensor([width, height]).long())
    for (length_x, length_y), group in group_equal(lengths):
        size = length_x * length_y * rows * columns
        for members in group.split(max(1, CHUNK_SIZE // size)):
            start, bin_size, number = starts[members], bins[members], samples[members]
            # (n, w, length_x) and (n, h, length_y)
            x, weight_x = _line(start[:, 0], bin_size[:, 0], number[:, 0], columns, length_x, width)
            y, weight_y = _line(start[:, 1], bin_size[:, 1], number[:, 1], rows, length_y, height)
            y = y + rois[members, 0].long()[:, None, None] * height
            # (n, h, w, length_y, length_x)
            pixels = y[:, :, None, :, None] * width + x[:, None, :, None, :]
            weights = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
            yield members, pixels.flatten(3).flatten(0, 2), weights.flatten(3).flatten(0, 2)


def _line_lengths(bins: Tensor, samples: Tensor, extents: Tensor) -> Tensor:
    """Compute an upper bound, rounded up, on the number of pixels along each axis of a bin.

    Adjacent samples share pixels if they are less than two apart. The margin allows for rounded
    positions. Samples are moved onto the map of ``extents`` (x, y), which bounds the number, too.
    """
    span = (samples - 1) * bins / samples.clamp(min=1)
    length = torch.minimum(2 * samples, (span + 0.01).floor().long() + 3)
    return round_up(length.minimum(extents + 1)).masked_fill(samples == 0, 0)


def round_up(lengths: Tensor) -> Tensor:
    """Round lengths up by at most a quarter, to get few different ones."""
    step = 2 ** (lengths.clamp(min=4).log2().floor().long() - 2)
    return (lengths + step - 1) // step * step


def group_equal(lengths: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Group RoIs by the lengths along both axes.

    Args:
        lengths: Lengths along x and y, ``(num_rois, 2)``; a RoI with a length of 0 is in no group.

    Yields:
        Both lengths, and the indices of the RoIs that have them.
    """
    values, groups = lengths.unique(dim=0, return_inverse=True)
    for group, value in enumerate(values.tolist()):
        if min(value) > 0:
            yield value, (groups == group).nonzero().squeeze(1)


def _line(
    start: Tensor, bin_size: Tensor, samples: Tensor, num_bins: int, length: int, extent: int
) -> tuple[Tensor, Tensor]:
    """Interpolate the samples of bins along one axis: their pixels and weights.

    Takes at most ``length`` pixels; unneeded ones, and samples more than one pixel outside the map
    of ``extent`` pixels, have weight 0. Returns ``(num_rois, num_bins, length)`` each.
    """
    # (num_rois, num_bins, most samples)
    position, valid = sample_positions(start, bin_size, samples, num_bins)
    inside = (position >= -1) & (position <= extent) & valid
    position = position.clamp(0, extent - 1)
    low = position.floor()
    fraction = position - low
    share = inside / samples[:, None, None].to(position.dtype)
    pixel = low.long()
    # A sample starts at the pixel of the previous one, at the next one, or at two new ones.
    slot = pixel.diff(dim=2, prepend=pixel[..., :1]).clamp(0, 2).cumsum(2).clamp(max=length - 2)
    pixels = pixel[..., -1:].repeat(1, 1, length)
    pixels.scatter_(2, slot + 1, (pixel + 1).clamp(max=extent - 1)).scatter_(2, slot, pixel)
    weights = position.new_zeros(pixels.shape)
    weights.scatter_add_(2, slot, (1 - fraction) * share)
    weights.scatter_add_(2, slot + 1, fraction * share)
    return pixels, weights


def sample_positions(
    start: Tensor,  # first corner on the map, (num_rois,)
    bin_size: Tensor,  # pixels in a bin, (num_rois,)
    samples: Tensor,  # samples in a bin, (num_rois,)
    num_bins: int,  # bins along the axis
) -> tuple[Tensor, Tensor]:
    """Compute the positions of a bin's samples along one axis.

    Returns:
        Positions and whether the sample exists, ``(num_rois, num_bins, most samples)``; RoIs with
        fewer samples repeat their last one.
    """
    start, bin_size, samples = (value[:, None, None] for value in (start, bin_size, samples))
    bins = torch.arange(num_bins, device=start.device)[:, None]
    sample = torch.arange(int(samples.max()), device=start.device)
    valid = sample < samples
    middle = torch.minimum(sample, samples - 1) + 0.5
    # Follows mmcv's order of operations, because positions are rounded to 1e-5 pixels.
    return start + bins * bin_size + middle * bin_size / samples, valid


def interpolate(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the four pixels around each position, and their weights, which are differentiable.

    A position up to one pixel outside the map is moved to its border; farther out, its weight is 0.
    Returns indices in the flat map (H, W), and weights, of the shape of ``y`` and ``x`` with a last
    dimension of 4.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    (top, bottom), weights_y = _neighbors(y, height)
    (left, right), weights_x = _neighbors(x, width)
    pixels = [row * width + column for row in (top, bottom) for column in (left, right)]
    weights = [inside * of_y * of_x for of_y in weights_y for of_x in weights_x]
    return torch.stack(pixels, dim=-1), torch.stack(weights, dim=-1)


def _neighbors(
    position: Tensor, extent: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    position = position.clamp(0, extent - 1)
    low = position.detach().floor()
    fraction = position - low
    low = low.long()
    return (low, (low + 1).clamp(max=extent - 1)), (1 - fraction, fraction)

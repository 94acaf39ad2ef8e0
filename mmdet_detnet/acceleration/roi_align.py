"""RoIAlign on the CPU, as weighted sums of pixels."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .forwards import ContiguousForward


class RoIAlignForward(ContiguousForward):
    """The forward of mmcv's RoIAlign, with a quicker way on the CPU where no gradient is wanted.

    mmcv's CPU kernel reads one channel after the other on one thread. Here each output is a
    weighted sum of pixels, and each pixel a row of channels: an ``embedding_bag``, which
    runs on all threads and on whole vectors. The sums are the same, in another order.
    """

    def __call__(self, feature_map: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs.

        Args:
            feature_map: ``(N, C, H, W)``.
            rois: Index of the image and corners in pixels of the image, ``(num_rois, 5)``.

        Returns:
            ``(num_rois, C, h, w)``, in float32.
        """
        layer = self.module
        takes_any = torch.is_grad_enabled() or feature_map.dtype == torch.float64
        if takes_any or feature_map.device.type != 'cpu' or layer.pool_mode != 'avg':
            return super().__call__(feature_map, rois)
        return roi_align(
            feature_map.float(),
            rois.float(),
            layer.output_size,
            layer.spatial_scale,
            layer.sampling_ratio,
            layer.aligned,
        )


def roi_align(
    feature_map: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Average bilinear samples in the bins of RoIs, as ``mmcv.ops.roi_align`` does.

    Args:
        feature_map: ``(N, C, H, W)``, quickest in channels_last.
        rois: Index of the image and corners in pixels of the image, ``(num_rois, 5)``.
        output_size: Number of bins of a RoI, (h, w).
        spatial_scale: Pixels of the map in a pixel of the image.
        sampling_ratio: Samples along each side of a bin; 0 for one in each pixel of the map.
        aligned: Whether half a pixel is taken off, for the centres of pixels.

    Returns:
        ``(num_rois, C, h, w)``.
    """
    channels, height, width = feature_map.shape[1:]
    rows = feature_map.permute(0, 2, 3, 1).reshape(-1, channels)
    starts, sizes = _scale_rois(rois, spatial_scale, aligned)
    bins = sizes / sizes.new_tensor(output_size[::-1])
    samples = torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil()
    pooled = rows.new_zeros(len(rois), *output_size, channels)
    for (samples_x, samples_y), members in _group_equal(samples.long()):
        start, size = starts[members], bins[members]
        x, weight_x = _sample_line(start[:, 0], size[:, 0], output_size[1], samples_x, width)
        y, weight_y = _sample_line(start[:, 1], size[:, 1], output_size[0], samples_y, height)
        y = y + rois[members, 0].long()[:, None, None] * height
        index = y[:, :, None, :, None] * width + x[:, None, :, None, :]
        weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
        sums = F.embedding_bag(
            index.flatten(3).flatten(0, 2),
            rows,
            mode='sum',
            per_sample_weights=weight.flatten(3).flatten(0, 2),
        )
        pooled[members] = sums.view(len(members), *output_size, channels)
    return pooled.permute(0, 3, 1, 2)


def _scale_rois(rois: Tensor, spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """Compute the first corners and the sizes in pixels of the map, both ``(num_rois, 2)``."""
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    starts, ends = corners.split(2, dim=1)
    sizes = ends - starts
    return starts, sizes if aligned else sizes.clamp(min=1)


def _group_equal(samples: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Group RoIs by their numbers of samples; RoIs without area, or with NaNs, are in no group."""
    values, groups = samples.unique(dim=0, return_inverse=True)
    for group, value in enumerate(values.tolist()):
        if min(value) > 0:
            yield value, (groups == group).nonzero().squeeze(1)


def _sample_line(
    start: Tensor, bin_size: Tensor, num_bins: int, num_samples: int, extent: int
) -> tuple[Tensor, Tensor]:
    """Interpolate along one axis: the two pixels of each sample and their weights.

    Both are of shape (num_rois, num_bins, 2 * num_samples). A sample more than one pixel outside
    the map weighs nothing.
    """
    start, bin_size = start[:, None, None], bin_size[:, None, None]
    bins = torch.arange(num_bins)[:, None]
    samples = torch.arange(num_samples) + 0.5
    # In mmcv's order of operations, since a position is rounded to 1e-5 pixels.
    position = start + bins * bin_size + samples * bin_size / num_samples
    inside = (position >= -1) & (position <= extent)
    position = position.clamp(0, extent - 1)
    low = position.floor()
    fraction = position - low
    pixels = torch.stack([low, (low + 1).clamp(max=extent - 1)], dim=-1).long()
    weights = torch.stack([1 - fraction, fraction], dim=-1) * inside[..., None] / num_samples
    shape = (len(start), num_bins, 2 * num_samples)
    return pixels.view(shape), weights.view(shape)

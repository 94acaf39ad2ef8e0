"""Deformable convolution (both versions) of one image, forward and backward."""

from typing import NamedTuple

import torch
from torch import Tensor

from .deform_sampling import DeformConv


class ImageGradients(NamedTuple):
    """Gradients of the inputs of :func:`convolve`, with their shapes."""

    image: Tensor
    offset: Tensor
    mask: Tensor | None
    weight: Tensor


def convolve(
    conv: DeformConv, image: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor
) -> Tensor:
    """Convolve an image with a deformed kernel.

    Args:
        conv: The geometry.
        image: ``(C, H, W)``.
        offset: Offset of each tap in pixels, ``(deform_groups * taps * 2, h, w)``.
        mask: Factor of each sample, ``(deform_groups * taps, h, w)``; 1 if None.
        weight: ``(out_channels, C / groups, kernel height, kernel width)``.

    Returns:
        ``(out_channels, h, w)``.
    """
    samples, _ = conv.sample(image, offset)
    # (groups, C / groups * taps, h * w)
    columns = _modulate(samples, mask).reshape(conv.groups, -1, offset[0].numel())
    output = torch.bmm(_by_group(weight, conv), columns)
    return output.view(len(weight), *offset.shape[1:])


def convolve_backward(
    conv: DeformConv,
    image: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    gradient: Tensor,
) -> ImageGradients:
    """Compute the gradients of :func:`convolve`.

    ``gradient`` is that of the output, ``(out_channels, h, w)``; the other arguments are those of
    :func:`convolve`.
    """
    samples, grid = conv.sample(image, offset)
    # (groups, out_channels / groups, h * w)
    gradient = gradient.reshape(conv.groups, -1, offset[0].numel())
    columns = _modulate(samples, mask).reshape(conv.groups, -1, offset[0].numel())
    grad_weight = torch.bmm(gradient, columns.transpose(1, 2)).view(weight.shape)
    grad_samples = torch.bmm(_by_group(weight, conv).transpose(1, 2), gradient).view(samples.shape)
    grad_mask = None if mask is None else (grad_samples * samples).sum(1).view(mask.shape)
    grad_image, grad_offset = conv.sample_backward(_modulate(grad_samples, mask), image, grid)
    return ImageGradients(grad_image, grad_offset, grad_mask, grad_weight)


def _modulate(samples: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return samples
    return samples * mask.reshape(len(samples), 1, *samples.shape[2:])


def _by_group(weight: Tensor, conv: DeformConv) -> Tensor:
    return weight.reshape(conv.groups, len(weight) // conv.groups, -1)

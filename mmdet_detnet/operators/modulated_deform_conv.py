"""Modulated deformable convolution, "DCNv2" (https://arxiv.org/abs/1811.11168)."""

import torch
from torch import Tensor

from .deform_conv_image import convolve, convolve_backward
from .deform_sampling import DeformConv

# How mmcv names height and width of kernel, stride, padding and dilation.
GEOMETRY = (
    'kernel_h',
    'kernel_w',
    'stride_h',
    'stride_w',
    'pad_h',
    'pad_w',
    'dilation_h',
    'dilation_w',
)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Convolve a batch.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(out_channels, C / group, kernel_h, kernel_w)``.
        bias: ``(out_channels,)``.
        ones: Unused.
        offset: Offset of each tap in pixels, (y, x) per tap,
            ``(N, deformable_group * kernel_h * kernel_w * 2, h, w)``.
        mask: Factor of each tap, ``(N, deformable_group * kernel_h * kernel_w, h, w)``.
        output: Receives the result, ``(N, out_channels, h, w)``.
        columns: Unused.
        with_bias: Whether ``bias`` is added.
        geometry: ``kernel_h``, ``kernel_w``, ``stride_h``, ``stride_w``, ``pad_h``, ``pad_w``,
            ``dilation_h``, ``dilation_w``, ``group`` and ``deformable_group``.
    """
    conv = DeformConv.read(geometry, GEOMETRY)
    dtype = torch.promote_types(output.dtype, torch.float32)
    input, weight, offset, mask = (tensor.to(dtype) for tensor in (input, weight, offset, mask))
    for index, image in enumerate(input):
        result = convolve(conv, image, offset[index], mask[index], weight)
        output[index] = result + bias[:, None, None] if with_bias else result


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Compute the gradients of all inputs.

    ``grad_output`` is that of the output; ``grad_input``, ``grad_offset`` and ``grad_mask`` receive
    those of the inputs, and those of ``weight`` and ``bias`` are added to ``grad_weight`` and
    ``grad_bias``. The other arguments are those of forward.
    """
    conv = DeformConv.read(geometry, GEOMETRY)
    dtype = torch.promote_types(grad_input.dtype, torch.float32)
    input, weight, offset, mask, gradient = (
        tensor.to(dtype) for tensor in (input, weight, offset, mask, grad_output)
    )
    total = torch.zeros_like(weight)
    for index, image in enumerate(input):
        gradients = convolve_backward(
            conv, image, offset[index], mask[index], weight, gradient[index]
        )
        grad_input[index], grad_offset[index] = gradients.image, gradients.offset
        grad_mask[index] = gradients.mask
        total += gradients.weight
    grad_weight += total
    if with_bias:
        grad_bias += gradient.sum((0, 2, 3))

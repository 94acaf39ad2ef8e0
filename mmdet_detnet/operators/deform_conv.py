"""Deformable convolution (https://arxiv.org/abs/1703.06211)."""

import torch
from torch import Tensor

from .deform_conv_image import convolve, convolve_backward
from .deform_sampling import DeformConv

# How mmcv names height and width of kernel, stride, padding and dilation.
GEOMETRY = ('kH', 'kW', 'dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW')


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Convolve a batch.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(out_channels, C / group, kH, kW)``.
        offset: Offset of each tap in pixels, (y, x) per tap,
            ``(N, deformable_group * kH * kW * 2, h, w)``.
        output: Receives the result, ``(N, out_channels, h, w)``.
        columns: Unused.
        ones: Unused.
        geometry: ``kW``, ``kH`` (kernel), ``dW``, ``dH`` (stride), ``padW``, ``padH``,
            ``dilationW``, ``dilationH``, ``group`` and ``deformable_group``; others are not used.
    """
    conv = DeformConv.read(geometry, GEOMETRY)
    dtype = torch.promote_types(output.dtype, torch.float32)
    input, weight, offset = (tensor.to(dtype) for tensor in (input, weight, offset))
    for index, image in enumerate(input):
        output[index] = convolve(conv, image, offset[index], None, weight)


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradInput: Tensor,  # noqa: N803
    gradOffset: Tensor,  # noqa: N803
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Compute the gradients of the input and the offsets.

    Args:
        input: As in forward.
        offset: As in forward.
        gradOutput: Gradient of the output, ``(N, out_channels, h, w)``.
        gradInput: Receives the gradient of ``input``.
        gradOffset: Receives the gradient of ``offset``.
        weight: As in forward.
        columns: Unused.
        geometry: As in forward.
    """
    conv = DeformConv.read(geometry, GEOMETRY)
    dtype = torch.promote_types(gradInput.dtype, torch.float32)
    input, offset, gradient, weight = (
        tensor.to(dtype) for tensor in (input, offset, gradOutput, weight)
    )
    for index, image in enumerate(input):
        gradients = convolve_backward(conv, image, offset[index], None, weight, gradient[index])
        gradInput[index], gradOffset[index] = gradients.image, gradients.offset


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradWeight: Tensor,  # noqa: N803
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Compute the gradient of the weights.

    Args:
        input: As in forward.
        offset: As in forward.
        gradOutput: Gradient of the output, ``(N, out_channels, h, w)``.
        gradWeight: The gradient of ``weight`` is added to it.
        columns: Unused.
        ones: Unused.
        scale: Factor of the gradient.
        geometry: As in forward.
    """
    conv = DeformConv.read(geometry, GEOMETRY)
    dtype = torch.promote_types(gradWeight.dtype, torch.float32)
    input, offset, gradient = (tensor.to(dtype) for tensor in (input, offset, gradOutput))
    total = torch.zeros_like(gradWeight, dtype=dtype)
    for index, image in enumerate(input):
        columns = conv.sample(image, offset[index])[0].reshape(
            conv.groups, -1, gradient[0, 0].numel()
        )
        by_group = gradient[index].reshape(conv.groups, -1, columns.shape[2])
        total += torch.bmm(by_group, columns.transpose(1, 2)).view(total.shape)
    gradWeight += scale * total

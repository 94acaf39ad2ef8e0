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

    ``gradOutput`` is that of the output, ``(N, out_channels, h, w)``; ``gradInput`` and
    ``gradOffset`` receive those of ``input`` and ``offset``. The other arguments are those of
    forward.
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

    ``gradOutput`` is that of the output, ``(N, out_channels, h, w)``; that of ``weight``, times
    ``scale``, is added to ``gradWeight``. The other arguments are those of forward.
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

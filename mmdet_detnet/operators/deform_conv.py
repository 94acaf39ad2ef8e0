"""Deformable convolution (https://arxiv.org/abs/1703.06211), and with masks (1811.11168).

A sample is a weighted sum of four pixels, and a pixel is a row of channels, so ``embedding_bag``
computes all samples of an image at once. Its gradients are those of mmcv's kernels: positions are
rounded down, so that an offset of zero gets the slope towards the next pixel.
"""

import math
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_detnet.precision import widen

from . import torchvision_kernels

# How mmcv names height and width of kernel, stride, padding and dilation.
PLAIN = ('kH', 'kW', 'dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW')
MODULATED = (
    *('kernel_h', 'kernel_w', 'stride_h', 'stride_w'),
    *('pad_h', 'pad_w', 'dilation_h', 'dilation_w'),
)


def deform_conv_forward(
    input: Tensor,  # (N, C, H, W)
    weight: Tensor,  # (out_channels, C / group, kH, kW)
    # Offset of each tap in pixels, (y, x) per tap, (N, deformable_group * kH * kW * 2, h, w).
    offset: Tensor,
    output: Tensor,  # receives the result, (N, out_channels, h, w)
    columns: Tensor,  # unused
    ones: Tensor,  # unused
    # kW, kH (kernel), dW, dH (stride), padW, padH, dilationW, dilationH, group and
    # deformable_group; others are not used.
    **geometry: int,
) -> None:
    """Convolve a batch."""
    conv = DeformConv.of(input, geometry, PLAIN)
    if offset.shape[2:] != conv.output_size:
        raise ValueError(
            f'offset of a deformable convolution has the size {tuple(offset.shape[2:])}; '
            f'that of the output, {conv.output_size}, is needed.'
        )
    output.copy_(conv.forward(input, weight, offset, None))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Write the gradients of ``input`` and ``offset`` to ``gradInput`` and ``gradOffset``."""
    conv = DeformConv.of(input, geometry, PLAIN)
    of_input, of_offset, _, _ = conv.backward(input, weight, offset, None, gradOutput)
    gradInput.copy_(of_input)
    gradOffset.copy_(of_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add the gradient of ``weight``, times ``scale``, to ``gradWeight``."""
    conv = DeformConv.of(input, geometry, PLAIN)
    # The values of the weights do not matter for their gradient.
    gradWeight += scale * conv.backward(input, gradWeight, offset, None, gradOutput)[3]


def modulated_deform_conv_forward(
    input: Tensor,  # the images
    weight: Tensor,  # the kernels
    bias: Tensor,  # (out_channels,), added if with_bias
    ones: Tensor,  # unused
    # The offsets. Like mmcv, on which DyHead relies, takes the first ones of a larger map, as they
    # lie in memory.
    offset: Tensor,
    # Factor of each tap, (N, deformable_group * kernel_h * kernel_w, h, w), or larger as offset.
    mask: Tensor,
    output: Tensor,  # receives the result
    columns: Tensor,  # unused
    with_bias: bool,  # whether there is a bias
    **geometry: int,  # as of :func:`deform_conv_forward`, named as in MODULATED
) -> None:
    """Convolve a batch; the shapes are those of :func:`deform_conv_forward`."""
    result = DeformConv.of(input, geometry, MODULATED).forward(input, weight, offset, mask)
    output.copy_(result + bias[:, None, None] if with_bias else result)


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
    """Write the gradients of images, offsets and masks; add those of weights and biases."""
    conv = DeformConv.of(input, geometry, MODULATED)
    of_input, of_offset, of_mask, of_weight = conv.backward(
        input, weight, offset, mask, grad_output
    )
    grad_input.copy_(of_input)
    grad_offset.copy_(of_offset)
    grad_mask.copy_(of_mask)
    grad_weight += of_weight
    if with_bias:
        grad_bias += widen(grad_output).sum((0, 2, 3))


class DeformConv(NamedTuple):
    """A deformable convolution; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int
    output_size: tuple[int, int]

    @classmethod
    def of(cls, input: Tensor, geometry: dict[str, int], names: tuple[str, ...]) -> 'DeformConv':
        """Make one of the arguments of an operator; ``names`` are those of the pairs."""
        numbers = [geometry[name] for name in names]
        kernel, stride, padding, dilation = zip(numbers[::2], numbers[1::2], strict=True)
        height, width = (
            (extent + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis]
            + 1
            for axis, extent in enumerate(input.shape[2:])
        )
        groups, deform_groups = geometry['group'], geometry['deformable_group']
        return cls(kernel, stride, padding, dilation, groups, deform_groups, (height, width))

    def forward(self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """Convolve a batch, in float32 or float64; the mask is 1 if None."""
        input, weight = widen(input), widen(weight)
        offset, mask = self._read_maps(offset, mask)
        if torchvision_kernels.serve(input):
            return torchvision_kernels.deform_conv_forward(self, input, weight, offset, mask)
        output = input.new_empty(len(input), len(weight), *self.output_size)
        for index, image in enumerate(input):
            columns = self._columns(image, offset[index], None if mask is None else mask[index])
            result = torch.bmm(self._by_group(weight), columns.transpose(1, 2))
            output[index] = result.view(output.shape[1:])
        return output

    def backward(
        self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Compute the gradients of input, offset, mask and weight; ``gradient`` is the result's."""
        input, weight, gradient = map(widen, (input, weight, gradient))
        maps = self._read_maps(offset, mask)
        if torchvision_kernels.serve(input, backward=True):
            gradients = torchvision_kernels.deform_conv_backward(
                self, gradient, input, weight, *maps
            )
        else:
            gradients = self._backward(gradient, input, weight, *maps)
        of_input, of_offset, of_mask, of_weight = gradients
        of_mask = None if mask is None else _pad(of_mask, mask)
        return of_input, _pad(of_offset, offset), of_mask, of_weight

    def _backward(
        self, gradient: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inputs = [tensor for tensor in (input, offset, mask) if tensor is not None]
        totals = [torch.empty_like(tensor) for tensor in inputs]
        # (groups, out_channels / groups, taps * C / groups)
        by_group = self._by_group(weight)
        of_weight = torch.zeros_like(by_group)
        for index, of_output in enumerate(gradient):
            one = [tensor[index].detach().requires_grad_() for tensor in inputs]
            with torch.enable_grad():
                columns = self._columns(*one)
            # (groups, out_channels / groups, h * w)
            slopes = of_output.reshape(self.groups, by_group.shape[1], -1)
            of_weight += torch.bmm(slopes, columns.detach())
            of_columns = torch.bmm(slopes.transpose(1, 2), by_group)
            parts = torch.autograd.grad(columns, one, of_columns)
            for total, part in zip(totals, parts, strict=True):
                total[index] = part
        of_taps = of_weight.unflatten(2, (self.kernel[0] * self.kernel[1], -1)).transpose(2, 3)
        # Without a mask, the caller ignores its gradient.
        return totals[0], totals[1], totals[-1], of_taps.reshape(weight.shape)

    def _columns(
        self,
        image: Tensor,  # (C, H, W)
        offset: Tensor,  # (deform_groups, taps, 2, h, w)
        mask: Tensor | None = None,  # (deform_groups, taps, h, w)
    ) -> Tensor:
        """Sample an image, zero outside, at the moved taps; differentiable.

        Returns:
            ``(groups, h * w, taps * C / groups)``.
        """
        height, width = image.shape[1:]
        y, x, inside = self.locate(offset, height, width)
        factor = inside.to(y.dtype) if mask is None else inside * mask
        # (deform_groups, h * w, taps) each, from here on
        y, x = (values.where(inside, values.new_zeros(())) for values in (y, x))
        y, x, factor = (values.flatten(2).transpose(1, 2) for values in (y, x, factor))
        first = torch.arange(self.deform_groups, device=y.device)[:, None, None] * height * width
        around = list(product(_neighbors(y, height), _neighbors(x, width)))
        pixels = [first + row * width + column for (row, _), (column, _) in around]
        weights = [factor * of_row * of_column for (_, of_row), (_, of_column) in around]
        samples = F.embedding_bag(
            torch.stack(pixels, dim=-1).view(-1, 4),
            # (deform_groups * H * W, C / deform_groups)
            image.reshape(self.deform_groups, -1, height * width).transpose(1, 2).flatten(0, 1),
            mode='sum',
            per_sample_weights=torch.stack(weights, dim=-1).view(-1, 4),
        )
        # (h * w, taps, deform_groups, C / deform_groups)
        samples = samples.view(*y.shape, -1).permute(1, 2, 0, 3)
        samples = samples.reshape(*samples.shape[:2], self.groups, -1)
        return samples.permute(2, 0, 1, 3).flatten(2)

    def locate(
        self,
        offset: Tensor,  # (..., taps, 2, h, w)
        height: int,  # rows of the map
        width: int,  # columns of the map
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the rows and columns of samples, and which are less than a pixel outside.

        Returns:
            ``(..., taps, h, w)`` each; samples at NaN are outside.
        """
        taps = torch.arange(self.kernel[0] * self.kernel[1], device=offset.device)
        top, left = (
            torch.arange(size, device=offset.device) * stride - padding
            for size, stride, padding in zip(
                self.output_size, self.stride, self.padding, strict=True
            )
        )
        rows = (taps // self.kernel[1] * self.dilation[0])[:, None, None] + top[:, None]
        columns = (taps % self.kernel[1] * self.dilation[1])[:, None, None] + left
        y, x = offset[..., 0, :, :] + rows, offset[..., 1, :, :] + columns
        return y, x, (y > -1) & (y < height) & (x > -1) & (x < width)

    def _by_group(self, weight: Tensor) -> Tensor:
        """Arrange kernels like columns, ``(groups, out_channels / groups, taps * C / groups)``."""
        return weight.unflatten(0, (self.groups, -1)).flatten(3).transpose(2, 3).flatten(2)

    def _read_maps(self, offset: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        taps = self.deform_groups, self.kernel[0] * self.kernel[1]
        offset = _read('offset', offset, (*taps, 2, *self.output_size))
        return offset, None if mask is None else _read('mask', mask, (*taps, *self.output_size))


def _neighbors(position: Tensor, extent: int) -> list[tuple[Tensor, Tensor]]:
    """Find the pixels before and after positions along an axis, and their weights; 0 outside."""
    low = position.detach().floor()
    fraction = position - low
    low = low.long()
    return [
        (low.clamp(min=0), (1 - fraction) * (low >= 0)),
        ((low + 1).clamp(max=extent - 1), fraction * (low + 1 < extent)),
    ]


def _read(name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Take the first values of each image, which a larger map has too."""
    values, size = widen(values).flatten(1), math.prod(shape)
    if values.shape[1] < size:
        raise ValueError(
            f'{name} of a deformable convolution has {values.shape[1]} values per image; '
            f'{size} are needed, {shape}.'
        )
    return values[:, :size].view(-1, *shape)


def _pad(gradient: Tensor, values: Tensor) -> Tensor:
    """Give the values that :func:`_read` left out a gradient of zero."""
    gradient = gradient.flatten(1)
    return F.pad(gradient, (0, values[0].numel() - gradient.shape[1])).view(values.shape)

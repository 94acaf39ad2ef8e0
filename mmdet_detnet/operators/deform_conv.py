"""Deformable convolution (https://arxiv.org/abs/1703.06211), and with masks (1811.11168).

A sample is a weighted sum of four pixels, and a pixel is a row of channels, so ``embedding_bag``
computes all samples of an image at once. Its gradients are those of mmcv's kernels: positions are
rounded down, so that an offset of zero gets the slope towards the next pixel.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# How mmcv names height and width of kernel, stride, padding and dilation.
PLAIN = ('kH', 'kW', 'dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW')
MODULATED = (
    *('kernel_h', 'kernel_w', 'stride_h', 'stride_w'),
    *('pad_h', 'pad_w', 'dilation_h', 'dilation_w'),
)


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
    conv = DeformConv.of(input, geometry, PLAIN)
    if offset.shape[2:] != conv.output_size:
        raise ValueError(
            f'offset of a deformable convolution has the size {tuple(offset.shape[2:])}; '
            f'that of the output, {conv.output_size}, is needed.'
        )
    input, weight, offset = _widen(input, weight, offset)
    for index, image in enumerate(input):
        output[index] = conv.convolve(conv.columns(image, offset[index]), weight)


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
    """Write the gradients of ``input`` and ``offset`` to ``gradInput`` and ``gradOffset``."""
    conv = DeformConv.of(input, geometry, PLAIN)
    input, offset, gradient, weight = _widen(input, offset, gradOutput, weight)
    for index, image in enumerate(input):
        _, gradients = conv.input_gradients(weight, gradient[index], image, offset[index])
        gradInput[index], gradOffset[index] = gradients


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
    """Add the gradient of ``weight``, times ``scale``, to ``gradWeight``."""
    conv = DeformConv.of(input, geometry, PLAIN)
    input, offset, gradient = _widen(input, offset, gradOutput)
    total = torch.zeros_like(gradWeight, dtype=input.dtype)
    for index, image in enumerate(input):
        total += conv.weight_gradient(conv.columns(image, offset[index]), gradient[index])
    gradWeight += scale * total


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
    """Convolve a batch; the shapes are those of :func:`deform_conv_forward`.

    Args:
        input: The images.
        weight: The kernels.
        bias: ``(out_channels,)``, added if ``with_bias``.
        ones: Unused.
        offset: The offsets. Like mmcv, which DyHead relies on, takes the first ones of a larger
            map, as they lie in memory.
        mask: Factor of each tap, ``(N, deformable_group * kernel_h * kernel_w, h, w)``, or larger
            as ``offset``.
        output: Receives the result.
        columns: Unused.
        with_bias: Whether there is a bias.
        geometry: As of :func:`deform_conv_forward`, named as in ``MODULATED``.
    """
    conv = DeformConv.of(input, geometry, MODULATED)
    input, weight, offset, mask = _widen(input, weight, offset, mask)
    for index, image in enumerate(input):
        result = conv.convolve(conv.columns(image, offset[index], mask[index]), weight)
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
    """Write the gradients of images, offsets and masks; add those of weights and biases."""
    conv = DeformConv.of(input, geometry, MODULATED)
    input, weight, offset, mask, gradient = _widen(input, weight, offset, mask, grad_output)
    total = torch.zeros_like(weight)
    for index, image in enumerate(input):
        columns, gradients = conv.input_gradients(
            weight, gradient[index], image, offset[index], mask[index]
        )
        grad_input[index], grad_offset[index], grad_mask[index] = gradients
        total += conv.weight_gradient(columns, gradient[index])
    grad_weight += total
    if with_bias:
        grad_bias += gradient.sum((0, 2, 3))


def _widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert low precision to float32, in which samples and sums are computed."""
    return tuple(tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors)


class DeformConv(NamedTuple):
    """A deformable convolution of one image; pairs are (vertical, horizontal).

    The columns of an image are its samples, ``(groups, h * w, taps * C / groups)``.
    """

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

    def columns(self, image: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sample an image, zero outside, at the moved taps; differentiable.

        Args:
            image: ``(C, H, W)``.
            offset: At least ``deform_groups * taps * 2 * h * w`` values.
            mask: At least ``deform_groups * taps * h * w`` values; 1 if None.
        """
        channels, height, width = image.shape
        # (deform_groups, taps, 2, h, w)
        offset = self._read('offset', offset, 2)
        # (deform_groups, h * w, taps) each, from here on
        y, x = (
            (self._undeformed(axis, offset) + offset[:, :, axis]).flatten(2).transpose(1, 2)
            for axis in (0, 1)
        )
        inside = (y > -1) & (y < height) & (x > -1) & (x < width)  # False for NaN
        factor = inside.to(y.dtype)
        if mask is not None:
            factor = factor * self._read('mask', mask, 1).flatten(2).transpose(1, 2)
        rows, of_rows = _neighbors(y.where(inside, y.new_zeros(())), height)
        lines, of_lines = _neighbors(x.where(inside, x.new_zeros(())), width)
        first = torch.arange(self.deform_groups, device=y.device)[:, None, None] * height * width
        pixels = [first + row * width + line for row in rows for line in lines]
        weights = [factor * of_row * of_line for of_row in of_rows for of_line in of_lines]
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

    def convolve(self, columns: Tensor, weight: Tensor) -> Tensor:
        """Multiply columns with the kernels, ``(out_channels, h, w)``."""
        output = torch.bmm(self._by_group(weight), columns.transpose(1, 2))
        return output.view(len(weight), *self.output_size)

    def weight_gradient(self, columns: Tensor, gradient: Tensor) -> Tensor:
        """Compute the gradient of the kernels from that of the output."""
        # (groups, out_channels / groups, taps * C / groups)
        total = torch.bmm(self._pixels_by_group(gradient), columns)
        total = total.unflatten(2, (self.kernel[0] * self.kernel[1], -1)).transpose(2, 3)
        return total.reshape(len(gradient), -1, *self.kernel)

    def input_gradients(
        self, weight: Tensor, gradient: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute the columns, and the gradients of image, offsets and masks from the output's."""
        inputs = tuple(tensor.detach().requires_grad_() for tensor in inputs)
        with torch.enable_grad():
            columns = self.columns(*inputs)
        of_columns = torch.bmm(
            self._pixels_by_group(gradient).transpose(1, 2), self._by_group(weight)
        )
        return columns.detach(), torch.autograd.grad(columns, inputs, of_columns)

    def _by_group(self, weight: Tensor) -> Tensor:
        """Arrange kernels like columns, ``(groups, out_channels / groups, taps * C / groups)``."""
        return weight.unflatten(0, (self.groups, -1)).flatten(3).transpose(2, 3).flatten(2)

    def _pixels_by_group(self, output: Tensor) -> Tensor:
        return output.reshape(self.groups, len(output) // self.groups, -1)

    def _read(self, name: str, values: Tensor, number: int) -> Tensor:
        """Take the first values of a map of the output's size or of a larger one."""
        shape = (self.deform_groups, self.kernel[0] * self.kernel[1], number, *self.output_size)
        size = math.prod(shape)
        if values.numel() < size:
            raise ValueError(
                f'{name} of a deformable convolution has {values.numel()} values an image; '
                f'{size} are needed, {tuple(shape)}.'
            )
        return values.flatten()[:size].view(shape)

    def _undeformed(self, axis: int, offset: Tensor) -> Tensor:
        """Positions along an axis without offsets, ``(taps, h, 1)`` or ``(taps, 1, w)``."""
        outputs = torch.arange(self.output_size[axis], device=offset.device, dtype=offset.dtype)
        taps = torch.arange(self.kernel[0] * self.kernel[1], device=offset.device)
        taps = taps // self.kernel[1] if axis == 0 else taps % self.kernel[1]
        starts = outputs * self.stride[axis] - self.padding[axis]
        positions = taps[:, None] * self.dilation[axis] + starts
        return positions[:, :, None] if axis == 0 else positions[:, None]


def _neighbors(
    position: Tensor, extent: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Find the pixels before and after positions along an axis, and their weights; 0 outside."""
    low = position.detach().floor()
    fraction = position - low
    low = low.long()
    weights = (1 - fraction) * (low >= 0), fraction * (low + 1 < extent)
    return (low.clamp(min=0), (low + 1).clamp(max=extent - 1)), weights

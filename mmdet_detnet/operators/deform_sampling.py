"""The input samples of a deformable convolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class DeformConv:
    """Geometry of a deformable convolution; all pairs are (vertical, horizontal).

    Attributes:
        kernel: Size of the kernel.
        stride: Input pixels between outputs.
        padding: Zeros around the map.
        dilation: Pixels between the taps of the kernel.
        groups: Number of channel groups that are convolved separately.
        deform_groups: Number of input channel groups with separate offsets.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int

    @classmethod
    def read(cls, geometry: dict[str, int], names: Sequence[str]) -> 'DeformConv':
        """Make one of the arguments that mmcv gives an operator.

        Args:
            geometry: The arguments.
            names: Those of kernel, stride, padding and dilation, the vertical one first.

        Returns:
            The geometry.
        """
        numbers = [geometry[name] for name in names]
        kernel, stride, padding, dilation = zip(numbers[::2], numbers[1::2], strict=True)
        groups, deform_groups = geometry['group'], geometry['deformable_group']
        return cls(kernel, stride, padding, dilation, groups, deform_groups)

    @property
    def taps(self) -> int:
        """Number of weights of the kernel."""
        return self.kernel[0] * self.kernel[1]

    def sample(self, image: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate an image at the moved taps of the kernel.

        Args:
            image: ``(C, H, W)``; zero outside.
            offset: Offset of each tap in pixels, (y, x) per tap,
                ``(deform_groups * taps * 2, h, w)``.

        Returns:
            Samples, ``(deform_groups, C / deform_groups, taps * h, w)``, and the grid they were
            taken at, ``(deform_groups, taps * h, w, 2)``, as ``F.grid_sample`` defines it.
        """
        images = image.reshape(self.deform_groups, -1, *image.shape[1:])
        grid = self._grid(offset, image.shape[1:])
        return F.grid_sample(images, grid, align_corners=False), grid

    def sample_backward(
        self, gradient: Tensor, image: Tensor, grid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of :meth:`sample` for the image and the offsets.

        Args:
            gradient: Gradient of the samples, with their shape.
            image: As in :meth:`sample`.
            grid: As returned by :meth:`sample`.

        Returns:
            ``(C, H, W)`` and ``(deform_groups * taps * 2, h, w)``.
        """
        height, width = image.shape[1:]
        images = image.reshape(self.deform_groups, -1, height, width)
        bilinear, zeros = 0, 0
        grad_image, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, bilinear, zeros, False, [True, True]
        )
        # (deform_groups, taps * h, w, 2), then (deform_groups, taps, 2, h, w)
        grad_offset = grad_grid.flip(-1) * grid.new_tensor([2 / height, 2 / width])
        grad_offset = grad_offset.unflatten(1, (self.taps, -1)).movedim(-1, 2)
        return grad_image.reshape(image.shape), grad_offset.flatten(0, 2)

    def _grid(self, offset: Tensor, size: torch.Size) -> Tensor:
        offset = offset.reshape(self.deform_groups, self.taps, 2, *offset.shape[1:])
        # (deform_groups, taps, h, w)
        y = offset[:, :, 0] + self._undeformed(0, offset)
        x = offset[:, :, 1] + self._undeformed(1, offset)
        grid = torch.stack([(2 * x + 1) / size[1] - 1, (2 * y + 1) / size[0] - 1], dim=-1)
        return grid.flatten(1, 2)

    def _undeformed(self, axis: int, offset: Tensor) -> Tensor:
        """Positions along an axis without offsets, ``(taps, h, 1)`` or ``(taps, 1, w)``."""
        outputs = torch.arange(offset.shape[3 + axis], device=offset.device, dtype=offset.dtype)
        taps = torch.arange(self.taps, device=offset.device)
        taps = taps // self.kernel[1] if axis == 0 else taps % self.kernel[1]
        starts = outputs * self.stride[axis] - self.padding[axis]
        positions = taps[:, None] * self.dilation[axis] + starts
        return positions[:, :, None] if axis == 0 else positions[:, None]

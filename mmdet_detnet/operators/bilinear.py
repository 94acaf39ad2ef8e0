"""Bilinear interpolation with RoIAlign's rule for the border of a map."""

import torch
from torch import Tensor


def interpolate(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the four pixels around each position, and their weights.

    A position up to one pixel outside the map is moved to its border; farther out, its weight is 0.
    The weights are differentiable.

    Args:
        y: Rows of the positions, of any shape.
        x: Columns, as ``y``.
        height: Rows of the map.
        width: Columns of the map.

    Returns:
        Indices in the flat map (H, W) and weights, both of the shape of ``y`` with a last dimension
        of 4.
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

"""Deformable convolutions against mmcv's kernels, restated sample by sample."""

import math

import numpy as np
import pytest
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
# Stride, padding, dilation, groups, deformable groups, of a kernel of 3.
GEOMETRIES = [(1, 1, 1, 1, 1), (2, 1, 1, 2, 2), (1, 2, 2, 1, 4)]
PLAIN = GEOMETRIES[0]


def corners(y, x, height, width):
    """The pixels around a position, their weights, and the slopes of these along y and x."""
    if not (-1 < y < height and -1 < x < width):
        return
    top, left = math.floor(y), math.floor(x)
    for row, share_y, slope_y in ((top, top + 1 - y, -1), (top + 1, y - top, 1)):
        for column, share_x, slope_x in ((left, left + 1 - x, -1), (left + 1, x - left, 1)):
            if 0 <= row < height and 0 <= column < width:
                yield row, column, share_y * share_x, slope_y * share_x, share_y * slope_x


def restate(image, offset, mask, weight, gradient, geometry):
    """Compute the output of one image, and the gradients of image, offsets, masks and weights.

    Follows im2col, col2im and col2im_coord of mmcv.
    """
    stride, padding, dilation, groups, deform_groups = geometry
    image, offset, mask, weight, gradient = (
        tensor.detach().double().numpy() for tensor in (image, offset, mask, weight, gradient)
    )
    offset, mask = offset.ravel(), mask.ravel()
    kernel = weight.shape[2]
    (channels, *size), output_size = image.shape, gradient.shape[1:]
    by_group = weight.reshape(groups, -1, channels // groups, kernel**2)
    gradient = gradient.reshape(groups, -1, *output_size)
    columns = np.zeros((channels, kernel**2, *output_size))
    of_columns = np.einsum('goct,gohw->gcthw', by_group, gradient).reshape(columns.shape)
    of_image, of_offset, of_mask = map(np.zeros_like, (image, offset, mask))
    for place in np.ndindex(columns.shape):
        channel, tap, row, column = place
        tap += channel // (channels // deform_groups) * kernel**2
        at_mask, at_y, at_x = (
            (number * output_size[0] + row) * output_size[1] + column
            for number in (tap, 2 * tap, 2 * tap + 1)
        )
        y = row * stride - padding + place[1] // kernel * dilation + offset[at_y]
        x = column * stride - padding + place[1] % kernel * dilation + offset[at_x]
        for v, u, share, slope_y, slope_x in corners(y, x, *size):
            pixel, slope = image[channel, v, u], of_columns[place]
            columns[place] += mask[at_mask] * share * pixel
            of_image[channel, v, u] += slope * mask[at_mask] * share
            of_mask[at_mask] += slope * share * pixel
            of_offset[at_y] += slope * mask[at_mask] * slope_y * pixel
            of_offset[at_x] += slope * mask[at_mask] * slope_x * pixel
    columns = columns.reshape(groups, -1, kernel**2, *output_size)
    output = np.einsum('goct,gcthw->gohw', by_group, columns)
    of_weight = np.einsum('gohw,gcthw->goct', gradient, columns)
    return [
        torch.from_numpy(x).flatten() for x in (output, of_image, of_offset, of_mask, of_weight)
    ]


def make(geometry, images=2, channels=4, size=(5, 6), kernel=3):
    """Make images, offsets, masks and weights."""
    *rest, deform_groups = geometry
    taps = deform_groups * kernel**2
    inputs = torch.randn(images, channels, *size, dtype=torch.float64)
    weight = torch.randn(2, channels // geometry[3], kernel, kernel, dtype=torch.float64)
    outputs = torch.conv2d(inputs, weight, None, *rest).shape[2:]
    offset = torch.randn(images, 2 * taps, *outputs, dtype=torch.float64)
    mask = torch.rand(images, taps, *outputs, dtype=torch.float64)
    return inputs, offset, mask, weight


def assert_as_restated(images, offset, mask, weight, geometry, modulated, **tolerance):
    """Compare output and gradients of one image with those of the restated kernels."""
    inputs = [tensor.requires_grad_() for tensor in (images, offset, mask, weight)]
    if modulated:
        output = ops.modulated_deform_conv2d(*inputs, None, *geometry)
    else:
        mask.detach().fill_(1)
        del inputs[2]
        output = ops.deform_conv2d(*inputs, *geometry)
    gradient = torch.randn_like(output)
    actual = [output, *torch.autograd.grad(output, inputs, gradient)]
    expected = restate(images[0], offset[0], mask[0], weight, gradient[0], geometry)
    if not modulated:
        del expected[3]
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours.double().flatten(), theirs, **tolerance)


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_moved_taps(geometry, modulated):
    assert_as_restated(*make(geometry, images=1), geometry, modulated)


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('shift', [0, -2])
def test_slopes_at_whole_pixels_are_those_to_the_next_pixel(shift, modulated):
    """Offsets start at zero, where the slope to either side could be taken."""
    images, offset, mask, weight = (
        tensor.float() for tensor in make(PLAIN, images=1, channels=1, size=(12, 7))
    )
    offset = torch.full_like(offset, shift)
    assert_as_restated(images, offset, mask, weight, PLAIN, modulated, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('modulated', [False, True])
def test_offsets_that_are_no_numbers_sample_nothing(modulated):
    images, offset, mask, weight = make(PLAIN, images=1)
    for value, place in ((math.nan, (0, 0)), (math.inf, (3, 1)), (-math.inf, (4, 2))):
        offset[0, place[0], place[1]] = value
    assert_as_restated(images, offset, mask, weight, PLAIN, modulated)


def test_larger_map_of_offsets_is_read_as_it_lies_in_memory():
    """As DyHead gives them, whose offsets are those of a finer level."""
    images, _, _, weight = make(PLAIN, images=1)
    offset = torch.randn(1, 18, 10, 12, dtype=torch.float64)
    mask = torch.rand(1, 9, 10, 12, dtype=torch.float64)
    assert_as_restated(images, offset, mask, weight, PLAIN, modulated=True)


def test_offsets_of_another_size_are_refused():
    images, offset, mask, weight = make(PLAIN)
    with pytest.raises(ValueError, match=r'offset .* has the size \(5, 5\); .*\(5, 6\)'):
        ops.deform_conv2d(images, offset[..., :5], weight, *PLAIN)
    with pytest.raises(ValueError, match='mask .* has 225 values per image; 270 are needed'):
        ops.modulated_deform_conv2d(images, offset, mask[..., :5], weight, None, *PLAIN)


# The last one differs along the axes.
@pytest.mark.parametrize('geometry', [*GEOMETRIES, ((2, 1), (1, 2), (1, 2), 1, 1)])
def test_without_offsets_it_is_a_convolution(geometry):
    images, offset, mask, weight = make(geometry)
    expected = torch.conv2d(images, weight, None, *geometry[:4])
    actual = ops.deform_conv2d(images, torch.zeros_like(offset), weight, *geometry)
    torch.testing.assert_close(actual, expected)
    half = torch.full_like(mask, 0.5)
    bias = torch.tensor([1.0, 2.0], dtype=torch.float64)
    actual = ops.modulated_deform_conv2d(images, 0 * offset, half, weight, bias, *geometry)
    torch.testing.assert_close(actual, expected / 2 + bias[:, None, None])


def test_gradcheck_of_two_images_and_a_bias():
    inputs = [tensor.requires_grad_() for tensor in make(GEOMETRIES[1], size=(3, 4))]
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *args: ops.modulated_deform_conv2d(*args, *GEOMETRIES[1]),
        (*inputs, bias),
        fast_mode=True,
    )


def test_shapes_alone_suffice():
    """The benchmark counts the multiply-adds from them."""
    layer = ops.ModulatedDeformConv2dPack(4, 8, 3, padding=1).to('meta')
    assert layer(torch.empty(2, 4, 6, 5, device='meta')).shape == (2, 8, 6, 5)


def test_autocast_takes_the_layer_of_a_backbone():
    layer = ops.ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    images = torch.randn(1, 4, 6, 6, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        layer(images).sum().backward()
    assert images.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in layer.parameters())

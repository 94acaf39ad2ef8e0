"""Deformable convolutions against plain ones, and against their definition."""

import pytest
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
# Stride, padding, dilation, groups, deformable groups, of a kernel of 3.
GEOMETRIES = [(1, 1, 1, 1, 1), (2, 1, 1, 2, 2), (1, 2, 2, 1, 4)]


@pytest.fixture
def make():
    """Make images, offsets, masks and weights."""

    def make(geometry, images=2, size=(5, 6)):
        torch.manual_seed(0)
        *rest, deform_groups = geometry
        inputs = torch.randn(images, 4, *size, dtype=torch.float64)
        weight = torch.randn(2, 4 // geometry[3], 3, 3, dtype=torch.float64)
        outputs = torch.conv2d(inputs, weight, None, *rest).shape[2:]
        offset = torch.randn(images, deform_groups * 18, *outputs, dtype=torch.float64)
        mask = torch.rand(images, deform_groups * 9, *outputs, dtype=torch.float64)
        return inputs, offset, mask, weight

    return make


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_without_offsets_it_is_a_convolution(make, geometry):
    images, offset, mask, weight = make(geometry)
    expected = torch.conv2d(images, weight, None, *geometry[:4])
    actual = ops.deform_conv2d(images, torch.zeros_like(offset), weight, *geometry)
    torch.testing.assert_close(actual, expected)
    half = torch.full_like(mask, 0.5)
    bias = torch.tensor([1.0, 2.0], dtype=torch.float64)
    actual = ops.modulated_deform_conv2d(images, 0 * offset, half, weight, bias, *geometry)
    torch.testing.assert_close(actual, expected / 2 + bias[:, None, None])


def test_samples_are_taken_where_the_taps_are_moved_to():
    """A kernel of one tap: at row 1 of a ramp, moved by (y, x)."""
    image = torch.arange(12.0).view(1, 1, 3, 4)
    offset = torch.zeros(1, 2, 3, 4)
    moves = {(1, 1): (0.5, 0.25), (0, 0): (-0.5, 0.0), (2, 3): (0.0, 1.0), (1, 0): (9.0, 0.0)}
    for (row, column), move in moves.items():
        offset[0, :, row, column] = torch.tensor(move)
    output = ops.deform_conv2d(image, offset, torch.ones(1, 1, 1, 1))
    expected = image.clone()
    expected[0, 0, 1, 1] = 4 * 1.5 + 1.25  # between rows 1 and 2, columns 1 and 2
    expected[0, 0, 0, 0] = 0.5 * 0  # half outside
    expected[0, 0, 2, 3] = 0  # one pixel outside, where all is zero
    expected[0, 0, 1, 0] = 0
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_gradcheck(make, geometry):
    inputs = [tensor.requires_grad_() for tensor in make(geometry, images=1, size=(3, 4))]
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def modulated(*args):
        return ops.modulated_deform_conv2d(*args, *geometry)

    assert torch.autograd.gradcheck(modulated, (*inputs, bias), fast_mode=True)
    del inputs[2]
    assert torch.autograd.gradcheck(
        lambda *args: ops.deform_conv2d(*args, *geometry), inputs, fast_mode=True
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_samples_in_float32(make, dtype):
    inputs = [tensor.to(dtype).requires_grad_() for tensor in make(GEOMETRIES[0])]
    wide = [tensor.detach().float() for tensor in inputs]
    actual = ops.modulated_deform_conv2d(*inputs, None, *GEOMETRIES[0])
    actual.sum().backward()
    expected = ops.modulated_deform_conv2d(*wide, None, *GEOMETRIES[0])
    assert actual.equal(expected.to(dtype))
    assert all(tensor.grad.dtype == dtype for tensor in inputs)


def test_autocast_takes_the_layer_of_a_backbone():
    layer = ops.ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    images = torch.randn(1, 4, 6, 6, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        layer(images).sum().backward()
    assert images.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in layer.parameters())

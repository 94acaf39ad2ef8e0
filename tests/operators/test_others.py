"""The operators of single models of mmdet: CARAFE, masked convolution, attention, MMSyncBN."""

import pytest
import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmcv.ops.sync_bn import SyncBatchNormFunction
from torch import nn

pytestmark = pytest.mark.usefixtures('on_own_operators')


def test_carafe_sums_windows_with_the_predicted_weights():
    features = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    masks = torch.rand(2, 2 * 9, 6, 10, dtype=torch.float64)
    output = ops.carafe(features, masks, 3, 2, 2)
    padded = nn.functional.pad(features, (1, 1, 1, 1))
    for channel, row, column in [(0, 0, 0), (1, 3, 9), (2, 5, 4), (3, 2, 7)]:
        window = padded[1, channel, row // 2 : row // 2 + 3, column // 2 : column // 2 + 3]
        weights = masks[1].view(2, 9, 6, 10)[channel // 2, :, row, column].view(3, 3)
        torch.testing.assert_close(output[1, channel, row, column], (window * weights).sum())


def test_gradcheck_of_carafe():
    features = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(1, 9, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, m: ops.carafe(f, m, 3, 1, 2), (features, masks))


def test_masked_convolution_is_a_convolution_where_the_mask_is():
    layer = ops.MaskedConv2d(3, 4, 3, padding=1)
    image, mask = torch.randn(1, 3, 5, 6), torch.rand(1, 5, 6) > 0.5
    torch.testing.assert_close(layer(image, mask), layer(image) * mask)
    assert not layer(image, torch.zeros_like(mask)).any()


def test_attention_on_a_gpu_is_that_on_the_cpu():
    shapes = torch.tensor([[4, 5], [2, 3]])
    value = torch.randn(2, 26, 2, 4, dtype=torch.float64, requires_grad=True)
    places = torch.rand(2, 3, 2, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    starts = torch.tensor([0, 20])

    def attend(value, places, weights):
        return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, weights, 64)

    expected = multi_scale_deformable_attn_pytorch(value, shapes.tolist(), places, weights)
    torch.testing.assert_close(attend(value, places, weights), expected)
    assert torch.autograd.gradcheck(attend, (value, places, weights))


def test_mmsyncbn_of_one_process_is_batch_norm():
    images = torch.randn(3, 4, 5, 6, requires_grad=True)
    plain = nn.BatchNorm2d(4)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    mean, variance = torch.zeros(4), torch.ones(4)
    inputs = (images, plain.weight, plain.bias)
    expected = plain(images)
    actual = SyncBatchNormFunction.apply(
        images, mean, variance, *inputs[1:], 0.1, plain.eps, None, 1, 'default'
    )
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(mean, plain.running_mean)
    torch.testing.assert_close(variance, plain.running_var)
    gradient = torch.randn_like(images)
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
    )

"""The accelerated RoIAlign of a layer against mmcv's own."""

import pytest
import torch
from mmcv.ops import RoIAlign

from mmdet_detnet.deployment.replaced_forward import RoIAlignForward

SCALE = 0.25
# Index of the image and corners in pixels: inside, wide, over each border, outside, without area.
ROIS = torch.tensor(
    [
        [0, 10, 20, 60, 70],
        [1, 0, 5, 159, 20],
        [1, -30, -30, 25, 25],
        [0, 120, 80, 200, 150],
        [0, 300, 300, 340, 340],
        [1, 40, 40, 40, 40],
    ],
    dtype=torch.float,
)


@pytest.fixture
def feature_map():
    return torch.randn(2, 8, 25, 40).to(memory_format=torch.channels_last)


@pytest.fixture
def layers():
    """Mmcv's layer, and the same accelerated."""
    plain, fast = RoIAlign(7, SCALE), RoIAlign(7, SCALE)
    fast.forward = RoIAlignForward(fast)
    return plain, fast


def test_channels_last_maps_have_mmcvs_values_and_gradients(layers, feature_map):
    plain, fast = layers
    inputs = feature_map.contiguous().requires_grad_(), feature_map.requires_grad_()
    expected, actual = plain(inputs[0], ROIS), fast(inputs[1], ROIS)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    gradient = torch.randn_like(expected)
    for output in (expected, actual):
        output.backward(gradient)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=0, atol=1e-4)
    assert fast(feature_map, ROIS[:0]).shape == (0, 8, 7, 7)

"""RoI pooling."""

import math

import pytest
import test_roi_align
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
ROIS = test_roi_align.ROIS
NANS = torch.tensor([[0] + 4 * [math.nan]], dtype=torch.float64)


def restate(feature_map, rois, size, scale):
    """RoI pooling as it is defined: the largest pixel of a bin, its borders rounded outwards."""
    pooled = feature_map.new_zeros(len(rois), feature_map.shape[1], *size)
    for number, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, width, height = (x * scale for x in (x1, y1, x2 + 1 - x1, y2 + 1 - y1))
        for row in range(size[0]):
            top = max(math.floor(y1 + row * height / size[0]), 0)
            bottom = max(math.ceil(y1 + (row + 1) * height / size[0]), 0)
            for column in range(size[1]):
                left = max(math.floor(x1 + column * width / size[1]), 0)
                right = max(math.ceil(x1 + (column + 1) * width / size[1]), 0)
                window = feature_map[int(image), :, top:bottom, left:right]
                if window.numel():
                    pooled[number, :, row, column] = window.amax((1, 2))
    return pooled


def test_roi_pool_equals_its_definition(feature_map):
    expected = restate(feature_map, ROIS, (2, 3), 0.5)
    actual = ops.roi_pool(feature_map, ROIS, (2, 3), 0.5)
    assert actual.equal(expected)
    gradient = torch.randn_like(actual)
    (expected,) = torch.autograd.grad(expected, feature_map, gradient)
    (actual,) = torch.autograd.grad(actual, feature_map, gradient)
    torch.testing.assert_close(actual, expected)


def test_roi_pool_of_nans_of_nothing_and_of_no_rois(feature_map):
    without_area = torch.tensor([[0, 8, 8, 7, 7]], dtype=torch.float64)
    pooled = ops.roi_pool(feature_map, torch.cat([NANS, without_area]), 2, 0.5)
    pooled.sum().backward()
    assert not pooled.any()
    assert not feature_map.grad.any()
    assert ops.roi_pool(feature_map, ROIS[:0], 2, 0.5).shape == (0, 2, 2, 2)

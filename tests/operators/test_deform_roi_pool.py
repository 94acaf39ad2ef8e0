"""Deformable RoI pooling: RoIAlign with moved bins."""

import math

import pytest
import test_roi_align
import torch
from mmcv import ops

pytestmark = pytest.mark.usefixtures('on_own_operators')
NANS = torch.tensor([[0, *[math.nan] * 4]], dtype=torch.float64)
ROIS = torch.cat([test_roi_align.ROIS, NANS])


@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_without_offsets_it_is_roi_align(feature_map, sampling_ratio):
    expected = ops.roi_align(feature_map, ROIS, (2, 3), 0.5, sampling_ratio, 'avg', True)
    for offset in (None, torch.zeros(len(ROIS), 2, 2, 3).double()):
        actual = ops.deform_roi_pool(feature_map, ROIS, offset, (2, 3), 0.5, sampling_ratio)
        torch.testing.assert_close(actual, expected)


def test_offsets_move_bins_by_parts_of_the_roi(feature_map):
    rois = ROIS[:1]
    offset = torch.tensor([2.0, -1.0]).double().view(1, 2, 1, 1).expand(1, 2, 2, 3)
    actual = ops.deform_roi_pool(feature_map, rois, offset, (2, 3), 0.5, 2, 0.1)
    # A RoI of 11 x 9 pixels, moved by 0.2 of its width and by -0.1 of its height.
    moved = rois + torch.tensor([0, 2.2, -0.9, 2.2, -0.9]).double()
    expected = ops.roi_align(feature_map, moved, (2, 3), 0.5, 2, 'avg', True)
    torch.testing.assert_close(actual, expected)


def test_gradcheck(feature_map):
    offset = torch.rand(len(ROIS), 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def pool(feature_map, offset):
        return ops.deform_roi_pool(feature_map, ROIS, offset, 2, 0.5, 0, 0.1)

    assert torch.autograd.gradcheck(pool, (feature_map, offset), fast_mode=True)


@pytest.mark.parametrize('rois', [ROIS[:0], ROIS[-1:]])
def test_gradients_without_a_usable_roi_are_zero(feature_map, rois):
    offset = torch.rand(len(rois), 2, 2, 2, dtype=torch.float64, requires_grad=True)
    ops.deform_roi_pool(feature_map, rois, offset, 2, 0.5).sum().backward()
    assert not feature_map.grad.any()
    assert offset.grad is None or not offset.grad.any()

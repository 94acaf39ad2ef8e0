"""RoIAlign by embedding bags against mmcv's."""

import pytest
import torch
from mmcv.ops import RoIAlign

from mmdet_detnet.acceleration.forwards import replace_forward
from mmdet_detnet.acceleration.roi_align import RoIAlignForward, roi_align

SCALE = 0.25
# Index of the image and corners in pixels: inside, wide, over each border, outside, without area.
ROIS = [
    [0, 10, 20, 60, 70],
    [1, 0, 5, 159, 20],
    [1, -30, -30, 25, 25],
    [0, 120, 80, 200, 150],
    [0, 300, 300, 340, 340],
    [1, 40, 40, 40, 40],
]


@pytest.fixture
def feature_map():
    return torch.randn(2, 8, 25, 40).to(memory_format=torch.channels_last)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('size', [(7, 7), (3, 5)])
def test_equals_mmcv(feature_map, size, sampling_ratio, aligned):
    rois = torch.tensor(ROIS, dtype=torch.float)
    expected = RoIAlign(size, SCALE, sampling_ratio, aligned=aligned)(
        feature_map.contiguous(), rois
    )
    actual = roi_align(feature_map, rois, size, SCALE, sampling_ratio, aligned)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_roi_with_nans_has_features_of_zero_and_leaves_the_others_alone(feature_map):
    rois = torch.tensor([ROIS[0], [0, *[float('nan')] * 4]])
    pooled = roi_align(feature_map, rois, (7, 7), SCALE)
    assert not pooled[1].any()
    assert pooled[0].equal(roi_align(feature_map, rois[:1], (7, 7), SCALE)[0])


def test_layer_gives_mmcvs_values_for_channels_last_maps(feature_map):
    layer = RoIAlign(7, SCALE)
    rois = torch.tensor(ROIS, dtype=torch.float)
    expected = layer(feature_map.contiguous(), rois)
    replace_forward(layer, RoIAlignForward(layer))
    with torch.no_grad():
        torch.testing.assert_close(layer(feature_map, rois), expected, rtol=0, atol=1e-5)
        assert layer(feature_map, rois[:0]).shape == (0, 8, 7, 7)
    # With gradients it is mmcv's own kernel, given the memory layout that it takes for granted.
    assert layer(feature_map.requires_grad_(), rois).equal(expected)


def test_low_precision_maps_are_pooled_in_float32(feature_map):
    layer = RoIAlign(7, SCALE)
    rois = torch.tensor(ROIS, dtype=torch.float)
    rounded = feature_map.bfloat16()
    expected = layer(rounded.float().contiguous(), rois)
    replace_forward(layer, RoIAlignForward(layer))
    torch.testing.assert_close(layer(rounded, rois), expected)

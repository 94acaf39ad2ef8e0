"""RoIs of code whose boxes have widths of x2 - x1 + 1."""

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.registry import MODELS


def build_extractor(roi_layer='RoIAlign', **options):
    layer = dict(type=roi_layer, output_size=3, **options)
    return MODELS.build(
        dict(
            type='mmdet_detnet.DetectronRoIExtractor',
            roi_layer=layer,
            out_channels=2,
            featmap_strides=[4],
        )
    )


def test_last_pixels_are_the_coordinates_that_are_pooled_to():
    torch.manual_seed(0)
    features = torch.rand(1, 2, 12, 12)
    options = dict(sampling_ratio=2, aligned=False)
    # Width 20 and height 16 in both: first and last pixels there, edges here.
    pixels = torch.tensor([[0.0, 8.0, 12.0, 27.0, 27.0]])
    edges = torch.tensor([[0.0, 8.0, 12.0, 28.0, 28.0]])
    expected = RoIAlign(3, spatial_scale=1 / 4, **options)(features, pixels)
    torch.testing.assert_close(build_extractor(**options)((features,), edges), expected)


def test_enlarged_rois_are_those_of_the_authors_code():
    torch.manual_seed(0)
    features = torch.rand(1, 2, 12, 12)
    options = dict(sampling_ratio=2, aligned=False)
    # Theirs: center 8 + 20 / 2 = 18 and 12 + 16 / 2 = 20, sides 1.5 * 20 and 1.5 * 16, and one
    # less for the last pixels.
    pixels = torch.tensor([[0.0, 3.0, 8.0, 32.0, 31.0]])
    edges = torch.tensor([[0.0, 8.0, 12.0, 28.0, 28.0]])
    expected = RoIAlign(3, spatial_scale=1 / 4, **options)(features, pixels)
    actual = build_extractor(**options)((features,), edges, roi_scale_factor=1.5)
    torch.testing.assert_close(actual, expected)


def test_other_roi_layers_are_refused():
    with pytest.raises(ValueError, match="roi_layer.type must be 'RoIAlign', got 'RoIPool'"):
        build_extractor('RoIPool')

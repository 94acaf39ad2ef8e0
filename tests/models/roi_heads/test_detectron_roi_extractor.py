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


# The RoI from (8, 12) to (28, 28), whose last pixel is (27, 27). Enlarged by 1.5 as in the authors'
# code, around (18, 20), its sides are 30 and 24; its last pixel is one less than its edge.
@pytest.mark.parametrize(
    ('scale_factor', 'pixels'),
    [(None, [8.0, 12.0, 27.0, 27.0]), (1.5, [3.0, 8.0, 32.0, 31.0])],
)
def test_last_pixels_are_the_coordinates_that_are_pooled_to(scale_factor, pixels):
    torch.manual_seed(0)
    features = torch.rand(1, 2, 12, 12)
    options = dict(sampling_ratio=2, aligned=False)
    rois = torch.tensor([[0.0, *pixels]])
    expected = RoIAlign(3, spatial_scale=1 / 4, **options)(features, rois)
    edges = torch.tensor([[0.0, 8.0, 12.0, 28.0, 28.0]])
    actual = build_extractor(**options)((features,), edges, roi_scale_factor=scale_factor)
    torch.testing.assert_close(actual, expected)


def test_other_roi_layers_are_refused():
    with pytest.raises(ValueError, match="roi_layer.type must be 'RoIAlign', got 'RoIPool'"):
        build_extractor('RoIPool')

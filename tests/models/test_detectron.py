"""Anchors and RoI pooling of Detectron and maskrcnn-benchmark."""

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.registry import MODELS, TASK_UTILS

from mmdet_detnet.models import DetectronAnchorGenerator


def test_anchors_are_those_that_faster_rcnn_publishes():
    # First and last pixels, as printed in the comments of py-faster-rcnn's generate_anchors.py.
    published = torch.tensor(
        [
            *([-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]),
            *([-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]),
            *([-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]),
        ]
    )
    generator = DetectronAnchorGenerator(strides=[16], scales=[8, 16, 32], ratios=[0.5, 1.0, 2.0])
    edges = published + torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(generator.base_anchors[0], edges)


def test_shapes_are_rounded_at_each_stride():
    settings = dict(strides=[4, 8, 32], scales=[8], ratios=[0.5])
    generator = TASK_UTILS.build(dict(type='mmdet_detnet.DetectronAnchorGenerator', **settings))
    sizes = [(anchors[0, 2:] - anchors[0, :2]).tolist() for anchors in generator.base_anchors]
    # At stride 4, 5.66 x 2.83 becomes 6 x 3; at 8, 11 x 5.5 becomes 11 x 6; at 32, 45 x 22.
    assert sizes == [[48, 24], [88, 48], [360, 176]]


def test_center_can_be_given():
    settings = dict(strides=[8], scales=[2], ratios=[1.0], centers=[(4.0, 6.0)])
    generator = DetectronAnchorGenerator(**settings)
    assert generator.base_anchors[0].tolist() == [[-4.0, -2.0, 12.0, 14.0]]


def build_extractor(roi_layer, **options):
    layer = dict(type=roi_layer, output_size=3, **options)
    settings = dict(roi_layer=layer, out_channels=2, featmap_strides=[4])
    return MODELS.build(dict(type='mmdet_detnet.DetectronRoIExtractor', **settings))


# The RoI from (8, 12) to (28, 28), whose last pixel is (27, 27). Enlarged by 1.5 as in the authors'
# code, around (18, 20), its sides are 30 and 24; its last pixel is one less than its edge.
@pytest.mark.parametrize(
    ('roi_layer', 'scale_factor', 'pixels'),
    [('RoIAlign', None, [8.0, 12.0, 27.0, 27.0]), (RoIAlign, 1.5, [3.0, 8.0, 32.0, 31.0])],
)
def test_last_pixels_are_the_coordinates_that_are_pooled_to(roi_layer, scale_factor, pixels):
    features = torch.rand(1, 2, 12, 12)
    options = dict(sampling_ratio=2, aligned=False)
    rois = torch.tensor([[0.0, *pixels]])
    expected = RoIAlign(3, spatial_scale=1 / 4, **options)(features, rois)
    edges = torch.tensor([[0.0, 8.0, 12.0, 28.0, 28.0]])
    extractor = build_extractor(roi_layer, **options)
    actual = extractor((features,), edges, roi_scale_factor=scale_factor)
    torch.testing.assert_close(actual, expected)


def test_other_roi_layers_are_refused():
    with pytest.raises(ValueError, match="roi_layer.type must be 'RoIAlign', got 'RoIPool'"):
        build_extractor('RoIPool')

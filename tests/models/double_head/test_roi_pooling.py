"""The RoI extractor against mmdet's SingleRoIExtractor."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.structures.bbox import bbox2roi
from small_double_head import CHANNELS, STRIDES, make_feats, random_boxes

from mmdet_detnet.models import PreciseRoIExtractor

LAYER = dict(type='RoIAlign', output_size=7, sampling_ratio=0)
ROIS = bbox2roi([random_boxes(30, 0), random_boxes(20, 1)])
MMDETS = SingleRoIExtractor(LAYER, CHANNELS, list(STRIDES), finest_scale=14)


@pytest.fixture
def extractor():
    return PreciseRoIExtractor(LAYER, CHANNELS, list(STRIDES), finest_scale=14)


def test_equals_mmdets_extractor(extractor):
    feats = make_feats()
    assert torch.equal(extractor(feats, ROIS), MMDETS(feats, ROIS))
    enlarged = extractor(feats, ROIS, roi_scale_factor=1.3)
    assert torch.equal(enlarged, MMDETS(feats, ROIS, roi_scale_factor=1.3))


def test_an_enlarged_roi_keeps_its_level(extractor):
    # A side of 27 is level 0 (below 2 * 14); 1.3 times as large it would be level 1.
    rois, feats = torch.tensor([[0, 8.0, 8, 35, 35]]), make_feats()
    others = (feats[0], *(torch.full_like(feat, torch.nan) for feat in feats[1:]))
    enlarged = extractor(others, rois, roi_scale_factor=1.3)
    expected = extractor.roi_layers[0](feats[0], extractor.roi_rescale(rois, 1.3))
    assert torch.equal(enlarged, expected)


def test_scale_factor_counts_on_a_single_level():
    feats, mmdets = make_feats()[:1], SingleRoIExtractor(LAYER, CHANNELS, [4])
    pooled = PreciseRoIExtractor(LAYER, CHANNELS, [4])(feats, ROIS, roi_scale_factor=1.3)
    assert torch.equal(pooled, mmdets(feats, mmdets.roi_rescale(ROIS, 1.3)))


def test_unused_levels_get_a_gradient_of_zero_and_do_no_harm(extractor):
    feats = make_feats()
    feats = [*feats[:3], torch.full_like(feats[3], torch.inf)]
    feats = [feat.requires_grad_() for feat in feats]
    pooled = extractor(feats, torch.tensor([[0, 0.0, 0, 10, 10]]))
    assert pooled.isfinite().all()
    pooled.sum().backward()
    assert feats[0].grad.abs().sum() > 0
    assert all(feat.grad.eq(0).all() for feat in feats[1:])


def test_roi_layers_of_unused_levels_get_a_gradient_too():
    layer = dict(type='DeformRoIPoolPack', output_size=2, output_channels=CHANNELS)
    extractor = PreciseRoIExtractor(layer, CHANNELS, list(STRIDES))
    extractor(make_feats(), ROIS[:1]).sum().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


def test_roi_with_nan_has_features_of_zero(extractor):
    rois = torch.tensor([[0, torch.nan, 0, 10, 10], [0, 0.0, 0, 10, 10]])
    pooled = extractor(make_feats(), rois, roi_scale_factor=1.3)
    assert pooled[0].eq(0).all() and pooled[1].ne(0).any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_is_pooled_in_float32(extractor, dtype):
    feats = [feat.to(dtype) for feat in make_feats()]
    pooled = extractor(feats, ROIS, roi_scale_factor=1.3)
    exact = MMDETS([feat.float() for feat in feats], ROIS, roi_scale_factor=1.3)
    assert torch.equal(pooled, exact.to(dtype))

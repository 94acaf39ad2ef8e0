"""The RoI extractor and RoIPooling against mmdet's SingleRoIExtractor."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import GenericRoIExtractor, SingleRoIExtractor
from mmdet.structures.bbox import bbox2roi
from small_double_head import CHANNELS, STRIDES, random_boxes

from mmdet_detnet.models.roi_heads.precise_roi_extractor import (
    PreciseRoIExtractor,
    precise_extractors,
)
from mmdet_detnet.models.roi_heads.roi_pooling import RoIPooling

LAYER = dict(type='RoIAlign', output_size=7, sampling_ratio=0)


@pytest.fixture
def extractor():
    return PreciseRoIExtractor(LAYER, CHANNELS, list(STRIDES), finest_scale=14)


@pytest.fixture
def mmdets():
    return SingleRoIExtractor(LAYER, CHANNELS, list(STRIDES), finest_scale=14)


@pytest.fixture
def rois():
    return bbox2roi([random_boxes(30, 0), random_boxes(20, 1)])


def test_equals_mmdets_extractor(extractor, mmdets, feats, rois):
    pooling = RoIPooling(extractor, feats, rois)
    for pool in (pooling.pool, lambda *scale: extractor(feats, rois, *scale)):
        assert torch.equal(pool(), mmdets(feats, rois))
        assert torch.equal(pool(1.3), mmdets(feats, rois, roi_scale_factor=1.3))


@pytest.mark.parametrize('type_', ['SingleRoIExtractor', 'mmdet.SingleRoIExtractor'])
def test_takes_the_place_of_mmdets_extractor_alone(type_):
    mine, other = precise_extractors([dict(type=type_), dict(type='GenericRoIExtractor')])
    assert mine == dict(type=PreciseRoIExtractor)
    assert other == dict(type='GenericRoIExtractor')
    assert precise_extractors(None) is None


def test_levels_are_found_once_and_from_the_roi_as_it_is(extractor, feats, monkeypatch):
    calls = []
    map_levels = extractor.map_roi_levels
    monkeypatch.setattr(
        extractor, 'map_roi_levels', lambda *args: calls.append(args) or map_levels(*args)
    )
    # A side of 27 is level 0 (below 2 * 14); 1.3 times as large it would be level 1.
    pooling = RoIPooling(extractor, feats, torch.tensor([[0, 8.0, 8, 35, 35]]))
    pooling.pool()
    pooling.pool(1.3)
    assert len(calls) == 1
    assert pooling.levels.tolist() == [0]


def test_selection_pools_the_same(extractor, feats, rois):
    indices = torch.tensor([40, 3, 17])
    pooling = RoIPooling(extractor, feats, rois)
    assert torch.equal(pooling.select(indices).pool(1.3), pooling.pool(1.3)[indices])


def test_scale_factor_counts_on_a_single_level(feats, rois):
    mmdets = SingleRoIExtractor(LAYER, CHANNELS, [4])
    enlarged = mmdets.roi_rescale(rois, 1.3)
    pooled = RoIPooling(PreciseRoIExtractor(LAYER, CHANNELS, [4]), feats, rois).pool(1.3)
    assert torch.equal(pooled, mmdets(feats[:1], enlarged))
    assert not torch.equal(pooled, mmdets(feats[:1], rois, roi_scale_factor=1.3))


def test_no_roi_gives_no_features_but_a_gradient_of_zero(extractor, feats):
    feats = [feat.requires_grad_() for feat in feats]
    pooled = RoIPooling(extractor, feats, torch.zeros(0, 5)).pool(1.3)
    assert pooled.shape == (0, CHANNELS, 7, 7)
    pooled.sum().backward()
    assert all(feat.grad.eq(0).all() for feat in feats)


def test_unused_levels_get_a_gradient_of_zero(extractor, feats):
    feats = [feat.requires_grad_() for feat in feats]
    RoIPooling(extractor, feats, torch.tensor([[0, 0.0, 0, 10, 10]])).pool().sum().backward()
    assert feats[0].grad.abs().sum() > 0
    assert all(feat.grad.eq(0).all() for feat in feats[1:])


def test_unused_level_with_infinite_features_does_no_harm(extractor, feats):
    feats = (*feats[:3], torch.full_like(feats[3], torch.inf))
    assert RoIPooling(extractor, feats, torch.tensor([[0, 0.0, 0, 10, 10]])).pool().isfinite().all()


def test_roi_with_nan_has_features_of_zero(extractor, feats):
    rois = torch.tensor([[0, torch.nan, 0, 10, 10], [0, 0.0, 0, 10, 10]])
    pooled = RoIPooling(extractor, feats, rois).pool(1.3)
    assert pooled[0].eq(0).all() and pooled[1].ne(0).any()


def test_float16_rounds_the_enlarged_rois(extractor, feats, monkeypatch):
    rois = torch.tensor([[0, 2.3, 90.1, 12.7, 101.9]])
    seen = []
    layer = extractor.roi_layers[0].forward
    monkeypatch.setattr(
        extractor.roi_layers[0], 'forward', lambda *args: seen.append(args[1]) or layer(*args)
    )
    pooled = RoIPooling(extractor, [feat.half() for feat in feats], rois).pool(1.3)
    assert pooled.dtype == torch.float16
    assert torch.equal(seen[0], extractor.roi_rescale(rois, 1.3).half())
    assert not torch.equal(seen[0], extractor.roi_rescale(rois.half(), 1.3))


def test_bfloat16_is_pooled_in_float32(extractor, mmdets, feats, rois):
    feats = [feat.bfloat16() for feat in feats]
    pooled = RoIPooling(extractor, feats, rois).pool(1.3)
    exact = mmdets([feat.float() for feat in feats], rois, roi_scale_factor=1.3)
    assert torch.equal(pooled, exact.bfloat16())


def test_other_extractors_are_called_as_they_are(feats, rois):
    extractor = GenericRoIExtractor(
        roi_layer=LAYER, out_channels=CHANNELS, featmap_strides=list(STRIDES)
    )
    pooled = RoIPooling(extractor, feats, rois).pool(1.3)
    assert torch.equal(pooled, extractor(feats, rois, roi_scale_factor=1.3))

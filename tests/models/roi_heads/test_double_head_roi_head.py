"""The RoI head against mmdet's, and what it skips without changing the result."""

import itertools

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from small_double_head import CHANNELS, EXT, EXTRACTOR, MASK_HEAD, NUM_CLASSES, STRIDES, TEST_CFG


@pytest.fixture
def pair(make_roi_head):
    """The RoI head and mmdet's, with the same weights."""
    ours, mmdets = make_roi_head(), make_roi_head('mmdet')
    mmdets.load_state_dict(ours.state_dict())
    return ours, mmdets


def at_threshold(score_thr):
    return ConfigDict(TEST_CFG, score_thr=score_thr)


def assert_same_detections(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one.bboxes, other.bboxes, rtol=1e-5, atol=1e-4)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)


def test_losses_equal_mmdets(pair, feats, make_proposals, make_samples):
    losses = []
    for roi_head in pair:
        torch.manual_seed(0)  # of the sampler
        roi_head.train()
        losses.append(roi_head.loss(feats, make_proposals(50, 40), make_samples(3, 0)))
    ours, mmdets = losses
    assert ours.keys() == mmdets.keys()
    assert all(torch.equal(ours[name], mmdets[name]) for name in ours)


BATCHES = [(50,), (30, 50), (0, 40, 20)]
THRESHOLDS = [0.0, 0.05, 0.3, 0.6, 0.9, 1.0]


@pytest.mark.parametrize(
    ('numbers', 'score_thr', 'spread'), itertools.product(BATCHES, THRESHOLDS, [0.1, 1.0, 5.0])
)
@torch.no_grad()
def test_survivors_alone_give_mmdets_detections(
    pair, make_proposals, make_metas, numbers, score_thr, spread
):
    feats = [
        torch.randn(len(numbers), CHANNELS, 128 // stride, 192 // stride) for stride in STRIDES
    ]
    for roi_head in pair:
        roi_head.bbox_head.fc_cls.weight.mul_(spread)
    inputs = feats, make_metas(len(numbers)), make_proposals(*numbers), at_threshold(score_thr)
    ours, mmdets = (roi_head.predict_bbox(*inputs, rescale=True) for roi_head in pair)
    assert_same_detections(ours, mmdets)


@torch.no_grad()
def test_only_survivors_reach_the_conv_head(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head()
    counts = count_convolved(roi_head)
    rois = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    scores = roi_head._bbox_forward(feats, rois)['cls_score'].softmax(1)
    best = scores[:, :NUM_CLASSES].max(1).values
    counts.clear()
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), at_threshold(0.6))
    assert counts == [(best > 0.6).sum()]
    assert 0 < counts[0] < 90


@torch.no_grad()
def test_a_score_equal_to_the_threshold_does_not_survive(
    make_roi_head, feats, make_proposals, make_metas
):
    roi_head = make_roi_head()
    roi_head.bbox_head.fc_cls.weight.zero_()
    roi_head.bbox_head.fc_cls.bias.zero_()  # every class has 1 / 5
    counts = count_convolved(roi_head)
    equal = 1 / torch.tensor(5.0).item()
    for score_thr in (equal, 0.19):
        roi_head.predict_bbox(feats, make_metas(2), make_proposals(5, 5), at_threshold(score_thr))
    assert counts == [0, 10]


def count_convolved(roi_head):
    """List how many RoIs each call of the conv-head gets."""
    counts = []
    convolve = roi_head.bbox_head.conv_features
    roi_head.bbox_head.conv_features = lambda x: counts.append(len(x)) or convolve(x)
    return counts


@pytest.mark.parametrize(
    ('options', 'head', 'cfg'),
    [
        (dict(regress_survivors_only=False), {}, at_threshold(0.6)),
        ({}, EXT, at_threshold(0.6)),
        ({}, {**EXT, 'readout': 'conv'}, at_threshold(0.6)),
        ({}, {}, None),
    ],
)
@torch.no_grad()
def test_all_rois_are_regressed_where_it_matters(
    make_roi_head, feats, make_proposals, make_metas, options, head, cfg
):
    roi_head = make_roi_head(head=head, **options)
    counts = count_convolved(roi_head)
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), cfg)
    assert counts == [90]


@torch.no_grad()
def test_all_rois_are_regressed_in_training_mode(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head().train()
    counts = count_convolved(roi_head)
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), at_threshold(0.6))
    assert counts == [90]


@torch.no_grad()
def test_all_rois_are_read_out_in_onnx_export(make_roi_head, feats, make_proposals, monkeypatch):
    monkeypatch.setattr('torch.onnx.is_in_onnx_export', lambda: True)
    proposals = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    rois, scores, deltas = make_roi_head()._read_out(feats, proposals, at_threshold(0.6))
    assert len(rois) == len(scores) == len(deltas) == 90


@torch.no_grad()
def test_ext_without_fusion_leaves_out_rois_too(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head(head={**EXT, 'fusion': 'none'})
    counts = count_convolved(roi_head)
    inputs = feats, make_metas(2), make_proposals(50, 40), at_threshold(0.6)
    found = roi_head.predict_bbox(*inputs)
    roi_head.regress_survivors_only = False
    assert_same_detections(found, roi_head.predict_bbox(*inputs))
    assert counts[0] < counts[1] == 90


@torch.no_grad()
def test_features_that_are_not_finite_give_no_detections(
    make_roi_head, feats, make_proposals, make_metas
):
    roi_head = make_roi_head()
    for value in (torch.nan, torch.inf):
        bad = [torch.full_like(feat, value) for feat in feats]
        found = roi_head.predict_bbox(bad, make_metas(2), make_proposals(5, 5), at_threshold(0.05))
        assert [len(detections) for detections in found] == [0, 0]


@torch.no_grad()
def test_readout_of_the_fc_head_convolves_nothing(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head(head={**EXT, 'readout': 'fc'})
    counts = count_convolved(roi_head)
    found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), at_threshold(0.3))
    assert counts == []
    assert all(len(detections) > 0 for detections in found)


@pytest.mark.parametrize('head', [{}, EXT])
def test_no_roi_at_all_keeps_names_and_graph(
    make_roi_head, feats, make_proposals, make_samples, head
):
    roi_head = make_roi_head(head=head).train()
    names = roi_head.loss(feats, make_proposals(20, 20), make_samples(2, 1)).keys()
    losses = roi_head.loss(feats, make_proposals(0, 0), make_samples(0, 0))
    assert losses.keys() == names
    total = sum(value for name, value in losses.items() if 'loss' in name)
    assert total == 0
    total.backward()
    for name, parameter in roi_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.eq(0).all(), name


@pytest.mark.parametrize('number', [0, 7])
def test_tensor_mode(make_roi_head, feats, make_proposals, number):
    cls_score, bbox_pred = make_roi_head().forward(feats, make_proposals(number, 0))
    assert cls_score.shape == (number, NUM_CLASSES + 1)
    assert bbox_pred.shape == (number, NUM_CLASSES * 4)


@pytest.mark.parametrize('bf16', [False, True])
@pytest.mark.parametrize('with_own_extractor', [True, False])
def test_mask_head(make_roi_head, feats, make_proposals, make_samples, with_own_extractor, bf16):
    extractor = dict(EXTRACTOR, roi_layer=dict(type='RoIAlign', output_size=14))
    roi_head = make_roi_head(
        mask_roi_extractor=extractor if with_own_extractor else None,
        mask_head=dict(MASK_HEAD, roi_feat_size=14 if with_own_extractor else 7),
    )
    roi_head.train_cfg.mask_size = 28 if with_own_extractor else 14
    roi_head.test_cfg.mask_thr_binary = 0.5
    samples = make_samples(3, 2)
    for sample in samples:
        masks = np.ones((len(sample.gt_instances), 128, 192), dtype=np.uint8)
        sample.gt_instances.masks = BitmapMasks(masks, 128, 192)
    if bf16:
        feats = [feat.bfloat16() for feat in feats]
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
        losses = roi_head.loss(feats, make_proposals(50, 40), samples)
        assert losses['loss_mask'] > 0
        with torch.no_grad():
            found = roi_head.predict(feats, make_proposals(50, 40), samples)
    assert all(len(each.masks) == len(each.bboxes) > 0 for each in found)

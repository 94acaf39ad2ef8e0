"""The RoI heads: which RoIs the conv-head gets, and the same results without the others."""

import itertools

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from small_double_head import (
    CHANNELS,
    EXT,
    EXTRACTOR,
    HEAD,
    HEIGHT,
    MASK_HEAD,
    NUM_CLASSES,
    STRIDES,
    TEST_CFG,
    TRAIN_CFG,
    WIDTH,
)
from torch import nn


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


@torch.no_grad()
def test_mmdets_extractor_gives_mmdets_detections(make_roi_head, feats, make_proposals, make_metas):
    plain = dict(EXTRACTOR, type='SingleRoIExtractor')
    ours, mmdets = make_roi_head(bbox_roi_extractor=plain), make_roi_head('mmdet')
    assert type(ours.bbox_roi_extractor) is type(mmdets.bbox_roi_extractor)
    mmdets.load_state_dict(ours.state_dict())
    inputs = feats, make_metas(2), make_proposals(50, 40), at_threshold(0.3)
    assert_same_detections(ours.predict_bbox(*inputs), mmdets.predict_bbox(*inputs))


BATCHES = [(50,), (0, 40, 20)]
THRESHOLDS = [0.0, 0.3, 0.9]


@pytest.mark.parametrize(
    ('numbers', 'score_thr', 'spread'), itertools.product(BATCHES, THRESHOLDS, [0.1, 5.0])
)
@torch.no_grad()
def test_rois_above_the_threshold_give_mmdets_detections(
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
def test_only_rois_above_the_threshold_are_convolved(
    make_roi_head, feats, make_proposals, make_metas
):
    roi_head = make_roi_head()
    counts = count_convolved(roi_head.bbox_head)
    rois = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    scores = roi_head._bbox_forward(feats, rois)['cls_score'].softmax(1)
    best = scores[:, :NUM_CLASSES].max(1).values
    counts.clear()
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), at_threshold(0.6))
    assert counts == [(best > 0.6).sum()]
    assert 0 < counts[0] < 90


@torch.no_grad()
def test_a_score_equal_to_the_threshold_does_not_count(
    make_roi_head, feats, make_proposals, make_metas
):
    roi_head = make_roi_head()
    roi_head.bbox_head.fc_cls.weight.zero_()
    roi_head.bbox_head.fc_cls.bias.zero_()  # every class has 1 / 5
    counts = count_convolved(roi_head.bbox_head)
    equal = 1 / torch.tensor(5.0).item()
    for score_thr in (equal, 0.19):
        roi_head.predict_bbox(feats, make_metas(2), make_proposals(5, 5), at_threshold(score_thr))
    assert counts == [0, 10]


def count_convolved(bbox_head):
    """List how many RoIs each call of the conv-head gets."""
    counts = []
    convolve = bbox_head.conv_features
    bbox_head.conv_features = lambda x: counts.append(len(x)) or convolve(x)
    return counts


@pytest.mark.parametrize(
    ('options', 'head', 'cfg'),
    [
        (dict(regress_survivors_only=False), {}, at_threshold(0.6)),
        ({}, EXT, at_threshold(0.6)),
        ({}, {**EXT, 'fusion': 'conv'}, at_threshold(0.6)),
        ({}, {}, None),
    ],
)
@torch.no_grad()
def test_all_rois_are_regressed_where_it_matters(
    make_roi_head, feats, make_proposals, make_metas, options, head, cfg
):
    roi_head = make_roi_head(head=head, **options)
    counts = count_convolved(roi_head.bbox_head)
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), cfg)
    assert counts == [90]


@torch.no_grad()
def test_all_rois_are_regressed_in_training_mode(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head().train()
    counts = count_convolved(roi_head.bbox_head)
    roi_head.predict_bbox(feats, make_metas(2), make_proposals(50, 40), at_threshold(0.6))
    assert counts == [90]


@torch.no_grad()
def test_all_rois_are_scored_in_onnx_export(make_roi_head, feats, make_proposals, monkeypatch):
    monkeypatch.setattr('torch.onnx.is_in_onnx_export', lambda: True)
    proposals = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    rois, scores, deltas = make_roi_head().score_rois(feats, proposals, at_threshold(0.6))
    assert len(rois) == len(scores) == len(deltas) == 90


@torch.no_grad()
def test_ext_without_fusion_leaves_out_rois_too(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head(head={**EXT, 'fusion': 'none'})
    counts = count_convolved(roi_head.bbox_head)
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
def test_the_fc_head_alone_convolves_nothing(make_roi_head, feats, make_proposals, make_metas):
    roi_head = make_roi_head(head={**EXT, 'fusion': 'fc'})
    counts = count_convolved(roi_head.bbox_head)
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


@pytest.mark.parametrize(('with_own_extractor', 'bf16'), [(True, False), (False, True)])
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


NORMS = {
    'group norm': dict(type='GN', num_groups=4),
    'batch norm': dict(type='BN'),
}


def gradients(roi_head, feats, sampled):
    """Compute the losses and the gradient of every parameter."""
    roi_head.zero_grad()
    losses = roi_head.bbox_loss(feats, sampled)['loss_bbox']
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    return losses, {name: parameter.grad for name, parameter in roi_head.named_parameters()}


def largest_difference(ones, others):
    """Compare gradients, each relative to its largest value."""
    assert ones.keys() == others.keys()
    return max(
        ((ones[name] - others[name]).abs().max() / others[name].abs().max()).item() for name in ones
    )


@pytest.fixture
def both_ways(make_roi_head, feats, sample_rois):
    """Compare 'auto' or True with False, on one set of RoIs."""

    def compare(option, norm, frozen=False):
        results = []
        for positives_only in (option, False):
            roi_head = make_roi_head(
                regress_positives_only=positives_only, head=dict(norm_cfg=NORMS[norm])
            ).train()
            for module in roi_head.modules():
                if frozen and isinstance(module, nn.BatchNorm2d):
                    module.eval()
            torch.manual_seed(0)  # of the sampler
            results.append(gradients(roi_head, feats, sample_rois(roi_head, 3, 2)))
        (ours, our_gradients), (exact, exact_gradients) = results
        assert ours['loss_cls'] == exact['loss_cls']
        return (
            ours['loss_bbox'],
            exact['loss_bbox'],
            largest_difference(our_gradients, exact_gradients),
        )

    return compare


@pytest.mark.parametrize(('norm', 'frozen'), [('group norm', False), ('batch norm', True)])
def test_same_losses_and_gradients_where_no_layer_mixes_rois(both_ways, norm, frozen):
    for option in ('auto', True):
        loss, exact_loss, difference = both_ways(option, norm, frozen)
        torch.testing.assert_close(loss, exact_loss)
        assert loss > 0
        assert difference < 1e-5


def test_batch_norm_in_training_makes_a_difference(both_ways):
    *_, difference = both_ways(True, 'batch norm')
    assert difference > 1e-2
    loss, exact_loss, difference = both_ways('auto', 'batch norm')
    assert loss == exact_loss and difference == 0


@pytest.mark.parametrize(
    ('head', 'positives_only'),
    [
        (dict(norm_cfg=NORMS['group norm']), True),
        (dict(norm_cfg=NORMS['batch norm']), False),
        (dict(norm_cfg=dict(type='SyncBN')), False),
        (dict(norm_cfg=NORMS['group norm'], **EXT), False),
        (dict(norm_cfg=NORMS['group norm'], lambda_fc=0.7), True),
    ],
)
def test_auto_takes_the_positives_where_they_suffice(
    make_roi_head, feats, sample_rois, head, positives_only
):
    roi_head = make_roi_head(head=head).train()
    sampled = sample_rois(roi_head, 3, 2)
    counts = []  # SyncBN itself runs on GPUs only
    roi_head.bbox_head.conv_features = lambda x: (
        counts.append(len(x)) or x.new_zeros(len(x), roi_head.bbox_head.conv_out_channels)
    )
    roi_head.bbox_loss(feats, sampled)
    number = sum(len(result.pos_priors if positives_only else result.priors) for result in sampled)
    assert counts == [number]


@pytest.mark.parametrize('numbers', [(2, 0), (0, 0)])
def test_every_parameter_has_a_gradient_without_positives_too(
    make_roi_head, feats, sample_rois, numbers
):
    roi_head = make_roi_head(head=dict(norm_cfg=NORMS['group norm'])).train()
    losses, grads = gradients(roi_head, feats, sample_rois(roi_head, *numbers))
    assert set(losses) == {'loss_cls', 'acc', 'loss_bbox'}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())


def test_norms_that_are_synchronized_later_are_refused_in_training(
    make_roi_head, feats, sample_rois
):
    roi_head = make_roi_head(regress_positives_only=True).train()
    roi_head = nn.SyncBatchNorm.convert_sync_batchnorm(roi_head)
    with pytest.raises(ValueError, match='regress_positives_only must be .* with SyncBN'):
        roi_head.bbox_loss(feats, sample_rois(roi_head, 3, 2))


NUM_STAGES = 2


@pytest.fixture
def make_cascade():
    def make(roi_head=None, **head):
        torch.manual_seed(0)
        box_head = 'mmdet_detnet.DoubleConvFCBBoxHead'
        bbox_head = dict(type=box_head, reg_class_agnostic=True, **{**HEAD, **head})
        return MODELS.build(
            ConfigDict(
                type='mmdet_detnet.CascadeDoubleHeadRoIHead',
                num_stages=NUM_STAGES,
                stage_loss_weights=[1, 0.5],
                reg_roi_scale_factor=1.3,
                bbox_roi_extractor=EXTRACTOR,
                bbox_head=[bbox_head] * NUM_STAGES,
                train_cfg=[TRAIN_CFG] * NUM_STAGES,
                test_cfg=TEST_CFG,
                **(roi_head or {}),
            )
        ).eval()

    return make


@pytest.mark.parametrize('head', [{}, {**EXT, 'fusion': 'none'}])
@pytest.mark.parametrize('numbers', [(3, 2), (2, 0), (0, 0)])
def test_losses(make_cascade, feats, make_proposals, make_samples, head, numbers):
    roi_head = make_cascade(**head).train()
    losses = roi_head.loss(feats, make_proposals(50, 40), make_samples(*numbers))
    names = {'loss_cls', 'acc', 'loss_bbox'}
    if head:
        names |= {'unfocused_loss_cls', 'unfocused_acc', 'unfocused_loss_bbox'}
    assert set(losses) == {f's{stage}.{name}' for stage in range(NUM_STAGES) for name in names}
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, parameter in roi_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(('head', 'mask'), [({}, True), ({**EXT, 'fusion': 'none'}, False)])
def test_no_roi_at_all_keeps_names_and_graph_of_every_stage(
    make_cascade, feats, make_proposals, make_samples, head, mask
):
    mask_head = dict(mask_head=[MASK_HEAD] * NUM_STAGES) if mask else {}
    roi_head = make_cascade(roi_head=mask_head, **head).train()
    for cfg in roi_head.train_cfg:
        cfg.mask_size = 14
    samples = make_samples(2, 1)
    for sample in samples:
        masks = np.ones((len(sample.gt_instances), HEIGHT, WIDTH), dtype=np.uint8)
        sample.gt_instances.masks = BitmapMasks(masks, HEIGHT, WIDTH)
    names = roi_head.loss(feats, make_proposals(20, 20), samples).keys()
    nothing = [sample.new() for sample in samples]
    for sample, full in zip(nothing, samples, strict=True):
        sample.gt_instances, sample.ignored_instances = (
            full.gt_instances[:0],
            full.ignored_instances,
        )
    losses = roi_head.loss(feats, make_proposals(0, 0), nothing)
    assert losses.keys() == names
    total = sum(value for name, value in losses.items() if 'loss' in name)
    assert total == 0
    total.backward()
    for name, parameter in roi_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.eq(0).all(), name


@pytest.mark.parametrize('score_thr', [0.0, 0.6, 1.0])
@torch.no_grad()
def test_last_stage_regresses_only_what_may_be_detected(
    make_cascade, feats, make_proposals, make_metas, score_thr
):
    roi_head = make_cascade()
    for head in roi_head.bbox_head:
        head.fc_cls.weight.normal_(std=5)
    counts = count_convolved(roi_head.bbox_head[-1])
    inputs = feats, make_metas(2), make_proposals(40, 30), ConfigDict(TEST_CFG, score_thr=score_thr)
    found = roi_head.predict_bbox(*inputs, rescale=True)
    roi_head.regress_survivors_only = False
    expected = roi_head.predict_bbox(*inputs, rescale=True)
    assert_same_detections(found, expected)
    assert counts[1] == 70
    assert counts[0] == {0.0: 70, 1.0: 0}.get(score_thr, counts[0])
    assert (0 < counts[0] < 70) == (score_thr == 0.6)


@torch.no_grad()
def test_each_stage_pools_both_sizes(make_cascade, feats, make_proposals):
    roi_head = make_cascade()
    rois = bbox2roi([results.bboxes for results in make_proposals(10, 10)])
    for stage in range(NUM_STAGES):
        extractor, head = roi_head.bbox_roi_extractor[stage], roi_head.bbox_head[stage]
        expected = head(extractor(feats, rois), extractor(feats, rois, roi_scale_factor=1.3))
        results = roi_head._bbox_forward(stage, feats, rois)
        assert torch.equal(results['cls_score'], expected[0])
        assert torch.equal(results['bbox_pred'], expected[1])


@torch.no_grad()
def test_cascade_without_proposals(make_cascade, feats, make_proposals, make_metas):
    found = make_cascade().predict_bbox(
        feats, make_metas(2), make_proposals(0, 0), ConfigDict(TEST_CFG)
    )
    assert [len(detections) for detections in found] == [0, 0]


@pytest.mark.parametrize('fusion', ['complementary', 'conv'])
def test_heads_with_other_scores_than_the_fc_heads_are_refused(make_cascade, fusion):
    message = f"CascadeDoubleHeadRoIHead: a bbox_head's fusion must be 'none', got '{fusion}'"
    with pytest.raises(ValueError, match=message):
        make_cascade(**{**EXT, 'fusion': fusion})

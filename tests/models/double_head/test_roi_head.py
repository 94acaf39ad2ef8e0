"""The RoI heads: which RoIs the conv-head gets, and the same results without the others."""

import itertools

import pytest
import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from small_double_head import (
    EXT,
    EXTRACTOR,
    HEAD,
    MASK_HEAD,
    NUM_CLASSES,
    PLAIN_EXTRACTOR,
    TEST_CFG,
    TRAIN_CFG,
    assert_every_parameter_has_a_gradient,
    build,
    count_convolved,
    make_feats,
    make_metas,
    make_proposals,
    make_roi_head,
    make_samples,
    sample_rois,
    sum_losses,
)
from torch import nn

NUM_STAGES = 2


def make_pair(extractor=EXTRACTOR):
    """The RoI head and mmdet's, with the same weights."""
    ours, mmdets = make_roi_head(bbox_roi_extractor=extractor), make_roi_head('mmdet')
    mmdets.load_state_dict(ours.state_dict())
    return ours, mmdets


def make_cascade(mask=False, **head):
    bbox_head = {'type': 'mmdet_detnet.DoubleConvFCBBoxHead', **HEAD, **head}
    return build(
        dict(
            type='mmdet_detnet.CascadeDoubleHeadRoIHead',
            num_stages=NUM_STAGES,
            stage_loss_weights=[1, 0.5],
            reg_roi_scale_factor=1.3,
            bbox_roi_extractor=EXTRACTOR,
            bbox_head=[dict(bbox_head, reg_class_agnostic=True)] * NUM_STAGES,
            mask_head=[MASK_HEAD] * NUM_STAGES if mask else None,
            train_cfg=[TRAIN_CFG] * NUM_STAGES,
            test_cfg=TEST_CFG,
        )
    )


def at_threshold(score_thr):
    return ConfigDict(TEST_CFG, score_thr=score_thr)


@torch.no_grad()
def detect(roi_head, score_thr, *numbers, feats=None, **options):
    """Predict boxes for images with so many proposals."""
    feats = make_feats(len(numbers)) if feats is None else feats
    cfg = None if score_thr is None else at_threshold(score_thr)
    inputs = feats, make_metas(len(numbers)), make_proposals(*numbers), cfg
    return roi_head.predict_bbox(*inputs, **options)


def assert_same_detections(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one.bboxes, other.bboxes, rtol=1e-5, atol=1e-4)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)


def test_losses_equal_mmdets():
    losses = []
    for roi_head in make_pair():
        torch.manual_seed(0)  # of the sampler
        roi_head.train()
        losses.append(roi_head.loss(make_feats(), make_proposals(50, 40), make_samples(3, 0)))
    ours, mmdets = losses
    assert ours.keys() == mmdets.keys()
    assert all(torch.equal(ours[name], mmdets[name]) for name in ours)


@pytest.mark.parametrize(
    ('extractor', 'numbers', 'score_thr', 'spread'),
    [
        *itertools.product([EXTRACTOR], [(50,), (0, 40, 20)], [0.0, 0.3, 0.9], [0.1, 5.0]),
        (PLAIN_EXTRACTOR, (50, 40), 0.3, 1.0),
    ],
)
@torch.no_grad()
def test_rois_above_the_threshold_give_mmdets_detections(extractor, numbers, score_thr, spread):
    found = []
    for roi_head in make_pair(extractor):
        roi_head.bbox_head.fc_cls.weight.mul_(spread)
        found.append(detect(roi_head, score_thr, *numbers, rescale=True))
    assert_same_detections(*found)


@torch.no_grad()
def test_only_rois_above_the_threshold_are_convolved():
    roi_head = make_roi_head()
    rois = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    scores = roi_head._bbox_forward(make_feats(), rois)['cls_score'].softmax(1)
    expected = (scores[:, :NUM_CLASSES].max(1).values > 0.6).sum()
    counts = count_convolved(roi_head.bbox_head)
    detect(roi_head, 0.6, 50, 40)
    assert counts == [expected]
    assert 0 < expected < 90


@torch.no_grad()
def test_a_score_equal_to_the_threshold_does_not_count():
    roi_head = make_roi_head()
    roi_head.bbox_head.fc_cls.weight.zero_()
    roi_head.bbox_head.fc_cls.bias.zero_()  # every class has 1 / 5
    counts = count_convolved(roi_head.bbox_head)
    for score_thr in (1 / torch.tensor(5.0).item(), 0.19):
        detect(roi_head, score_thr, 5, 5)
    assert counts == [0, 10]


@pytest.mark.parametrize(
    ('options', 'head', 'score_thr', 'training', 'convolved'),
    [
        (dict(regress_survivors_only=False), {}, 0.6, False, [90]),
        ({}, EXT, 0.6, False, [90]),
        ({}, {**EXT, 'fusion': 'conv'}, 0.6, False, [90]),
        ({}, {}, None, False, [90]),
        ({}, {}, 0.6, True, [90]),
        ({}, {**EXT, 'fusion': 'fc'}, 0.6, False, []),
    ],
)
def test_all_rois_or_none_are_regressed_where_it_matters(
    options, head, score_thr, training, convolved
):
    roi_head = make_roi_head(head=head, **options).train(training)
    counts = count_convolved(roi_head.bbox_head)
    found = detect(roi_head, score_thr, 50, 40)
    assert counts == convolved
    assert all(len(detections) > 0 for detections in found)


@torch.no_grad()
def test_all_rois_are_scored_in_onnx_export(monkeypatch):
    monkeypatch.setattr('torch.onnx.is_in_onnx_export', lambda: True)
    proposals = bbox2roi([results.bboxes for results in make_proposals(50, 40)])
    outputs = make_roi_head().score_rois(make_feats(), proposals, at_threshold(0.6))
    assert [len(output) for output in outputs] == [90] * 3


def test_ext_without_fusion_leaves_out_rois_too():
    roi_head = make_roi_head(head={**EXT, 'fusion': 'none'})
    counts = count_convolved(roi_head.bbox_head)
    found = detect(roi_head, 0.6, 50, 40)
    roi_head.regress_survivors_only = False
    assert_same_detections(found, detect(roi_head, 0.6, 50, 40))
    assert counts[0] < counts[1] == 90


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_features_that_are_not_finite_give_no_detections(value):
    bad = [torch.full_like(feat, value) for feat in make_feats()]
    found = detect(make_roi_head(), 0.05, 5, 5, feats=bad)
    assert [len(detections) for detections in found] == [0, 0]


@pytest.mark.parametrize(
    'make',
    [
        make_roi_head,
        lambda: make_roi_head(head=EXT),
        lambda: make_cascade(mask=True),
        lambda: make_cascade(**{**EXT, 'fusion': 'none'}),
    ],
    ids=['plain', 'ext', 'cascade with masks', 'cascade, ext'],
)
def test_no_roi_at_all_keeps_names_and_graph(make):
    roi_head, feats = make().train(), make_feats()
    names = roi_head.loss(feats, make_proposals(20, 20), make_samples(2, 1)).keys()
    losses = roi_head.loss(feats, make_proposals(0, 0), make_samples(0, 0))
    assert losses.keys() == names
    total = sum_losses(losses)
    assert total == 0
    total.backward()
    assert_every_parameter_has_a_gradient(roi_head, zero=True)


@pytest.mark.parametrize('number', [0, 7])
def test_tensor_mode(number):
    cls_score, bbox_pred = make_roi_head().forward(make_feats(), make_proposals(number, 0))
    assert cls_score.shape == (number, NUM_CLASSES + 1)
    assert bbox_pred.shape == (number, NUM_CLASSES * 4)


@pytest.mark.parametrize(('with_own_extractor', 'bf16'), [(True, False), (False, True)])
def test_mask_head(with_own_extractor, bf16):
    size = 14 if with_own_extractor else 7
    extractor = dict(EXTRACTOR, roi_layer=dict(type='RoIAlign', output_size=14))
    roi_head = make_roi_head(
        mask_roi_extractor=extractor if with_own_extractor else None,
        mask_head=dict(MASK_HEAD, roi_feat_size=size),
    )
    roi_head.train_cfg.mask_size = 2 * size
    feats = [feat.bfloat16() if bf16 else feat for feat in make_feats()]
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
        losses = roi_head.loss(feats, make_proposals(50, 40), make_samples(3, 2))
        assert losses['loss_mask'] > 0
        with torch.no_grad():
            found = roi_head.predict(feats, make_proposals(50, 40), make_samples(3, 2))
    assert all(len(each.masks) == len(each.bboxes) > 0 for each in found)


GROUP_NORM, BATCH_NORM = dict(type='GN', num_groups=4), dict(type='BN')


def losses_and_gradients(positives_only, norm_cfg, frozen=False, numbers=(3, 2)):
    """Compute the losses and the gradient of every parameter, on one set of RoIs."""
    roi_head = make_roi_head(regress_positives_only=positives_only, head=dict(norm_cfg=norm_cfg))
    roi_head.train()
    for module in roi_head.modules():
        if frozen and isinstance(module, nn.BatchNorm2d):
            module.eval()
    losses = roi_head.bbox_loss(make_feats(), sample_rois(roi_head, *numbers))['loss_bbox']
    assert set(losses) == {'loss_cls', 'acc', 'loss_bbox'}
    sum_losses(losses).backward()
    assert_every_parameter_has_a_gradient(roi_head)
    return losses, [parameter.grad for parameter in roi_head.parameters()]


def compare_with_all(positives_only, *norm):
    """Compare with the conv-head on all RoIs: both box losses, and the largest difference."""
    losses, gradients = losses_and_gradients(positives_only, *norm)
    exact, exact_gradients = losses_and_gradients(False, *norm)
    assert losses['loss_cls'] == exact['loss_cls']
    differences = [
        ((one - other).abs().max() / other.abs().max()).item()
        for one, other in zip(gradients, exact_gradients, strict=True)
    ]
    return losses['loss_bbox'], exact['loss_bbox'], max(differences)


@pytest.mark.parametrize('positives_only', ['auto', True])
@pytest.mark.parametrize('norm', [(GROUP_NORM,), (BATCH_NORM, True)])
def test_same_losses_and_gradients_where_no_layer_mixes_rois(positives_only, norm):
    loss, exact_loss, difference = compare_with_all(positives_only, *norm)
    torch.testing.assert_close(loss, exact_loss)
    assert loss > 0
    assert difference < 1e-5


def test_batch_norm_in_training_makes_a_difference():
    *_, difference = compare_with_all(True, BATCH_NORM)
    assert difference > 1e-2
    loss, exact_loss, difference = compare_with_all('auto', BATCH_NORM)
    assert loss == exact_loss and difference == 0


@pytest.mark.parametrize('numbers', [(2, 0), (0, 0)])
def test_every_parameter_has_a_gradient_without_positives_too(numbers):
    losses_and_gradients('auto', GROUP_NORM, numbers=numbers)


@pytest.mark.parametrize(
    ('head', 'positives_only'),
    [
        (dict(norm_cfg=GROUP_NORM), True),
        (dict(norm_cfg=BATCH_NORM), False),
        (dict(norm_cfg=dict(type='SyncBN')), False),
        (dict(norm_cfg=GROUP_NORM, **EXT), False),
        (dict(norm_cfg=GROUP_NORM, lambda_fc=0.7), True),
    ],
)
def test_auto_takes_the_positives_where_they_suffice(head, positives_only):
    roi_head = make_roi_head(head=head).train()
    sampled = sample_rois(roi_head, 3, 2)
    counts = []  # SyncBN itself runs on GPUs only
    roi_head.bbox_head.conv_features = lambda x: (
        counts.append(len(x)) or x.new_zeros(len(x), roi_head.bbox_head.conv_out_channels)
    )
    roi_head.bbox_loss(make_feats(), sampled)
    number = sum(len(result.pos_priors if positives_only else result.priors) for result in sampled)
    assert counts == [number]


def test_norms_that_are_synchronized_later_are_refused_in_training():
    roi_head = make_roi_head(regress_positives_only=True).train()
    roi_head = nn.SyncBatchNorm.convert_sync_batchnorm(roi_head)
    with pytest.raises(ValueError, match='regress_positives_only must be .* with SyncBN'):
        roi_head.bbox_loss(make_feats(), sample_rois(roi_head, 3, 2))


@pytest.mark.parametrize('head', [{}, {**EXT, 'fusion': 'none'}])
@pytest.mark.parametrize('numbers', [(3, 2), (2, 0), (0, 0)])
def test_losses_of_every_stage(head, numbers):
    roi_head = make_cascade(**head).train()
    losses = roi_head.loss(make_feats(), make_proposals(50, 40), make_samples(*numbers))
    names = {'loss_cls', 'acc', 'loss_bbox'}
    if head:
        names |= {'unfocused_loss_cls', 'unfocused_acc', 'unfocused_loss_bbox'}
    assert set(losses) == {f's{stage}.{name}' for stage in range(NUM_STAGES) for name in names}
    sum_losses(losses).backward()
    assert_every_parameter_has_a_gradient(roi_head)


@pytest.mark.parametrize('score_thr', [0.0, 0.6, 1.0])
@torch.no_grad()
def test_last_stage_regresses_only_what_may_be_detected(score_thr):
    roi_head = make_cascade()
    for head in roi_head.bbox_head:
        head.fc_cls.weight.normal_(std=5)
    counts = count_convolved(roi_head.bbox_head[-1])
    found = detect(roi_head, score_thr, 40, 30, rescale=True)
    roi_head.regress_survivors_only = False
    assert_same_detections(found, detect(roi_head, score_thr, 40, 30, rescale=True))
    assert counts[1] == 70
    assert counts[0] == {0.0: 70, 1.0: 0}.get(score_thr, counts[0])
    assert (0 < counts[0] < 70) == (score_thr == 0.6)


@torch.no_grad()
def test_each_stage_pools_both_sizes():
    roi_head, feats = make_cascade(), make_feats()
    rois = bbox2roi([results.bboxes for results in make_proposals(10, 10)])
    for stage in range(NUM_STAGES):
        extractor, head = roi_head.bbox_roi_extractor[stage], roi_head.bbox_head[stage]
        expected = head(extractor(feats, rois), extractor(feats, rois, roi_scale_factor=1.3))
        results = roi_head._bbox_forward(stage, feats, rois)
        assert torch.equal(results['cls_score'], expected[0])
        assert torch.equal(results['bbox_pred'], expected[1])


def test_cascade_without_proposals():
    found = detect(make_cascade(), 0.05, 0, 0)
    assert [len(detections) for detections in found] == [0, 0]


@pytest.mark.parametrize('fusion', ['complementary', 'conv'])
def test_heads_with_other_scores_than_the_fc_heads_are_refused(fusion):
    message = f"CascadeDoubleHeadRoIHead: a bbox_head's fusion must be 'none', got '{fusion}'"
    with pytest.raises(ValueError, match=message):
        make_cascade(**{**EXT, 'fusion': fusion})

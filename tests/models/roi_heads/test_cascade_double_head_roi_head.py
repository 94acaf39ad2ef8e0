"""Double-Head in every stage of Cascade R-CNN."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from small_double_head import (
    EXT,
    EXTRACTOR,
    HEAD,
    HEIGHT,
    MASK_HEAD,
    TEST_CFG,
    TRAIN_CFG,
    WIDTH,
)

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


@pytest.mark.parametrize('head', [{}, {**EXT, 'fusion': 'none'}])
@pytest.mark.parametrize('mask', [False, True])
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


@torch.no_grad()
def test_outputs_under_bfloat16_autocast_are_float32(make_cascade, feats, make_proposals):
    """Or logits would be averaged, and boxes decoded, in bfloat16."""
    roi_head = make_cascade()
    rois = bbox2roi([results.bboxes for results in make_proposals(10, 10)])
    with torch.autocast('cpu', torch.bfloat16):
        results = roi_head._bbox_forward(0, [feat.bfloat16() for feat in feats], rois)
    assert results['bbox_feats'].dtype == torch.bfloat16
    assert results['cls_score'].dtype == results['bbox_pred'].dtype == torch.float32


@pytest.mark.parametrize('score_thr', [0.0, 0.3, 0.6, 1.0])
@torch.no_grad()
def test_last_stage_regresses_only_what_may_be_detected(
    make_cascade, feats, make_proposals, make_metas, score_thr
):
    roi_head = make_cascade()
    for head in roi_head.bbox_head:
        head.fc_cls.weight.normal_(std=5)
    counts = []
    convolve = roi_head.bbox_head[-1].conv_features
    roi_head.bbox_head[-1].conv_features = lambda x: counts.append(len(x)) or convolve(x)
    inputs = feats, make_metas(2), make_proposals(40, 30), ConfigDict(TEST_CFG, score_thr=score_thr)
    found = roi_head.predict_bbox(*inputs, rescale=True)
    roi_head.regress_survivors_only = False
    expected = roi_head.predict_bbox(*inputs, rescale=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.bboxes, other.bboxes, rtol=1e-5, atol=1e-4)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
    assert counts[1] == 70
    assert counts[0] == {0.0: 70, 1.0: 0}.get(score_thr, counts[0])
    assert (0 < counts[0] < 70) == (score_thr in (0.3, 0.6))


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
def test_detections(make_cascade, feats, make_proposals, make_metas):
    roi_head = make_cascade()
    for head in roi_head.bbox_head:
        head.fc_cls.weight.normal_(std=0.5)
    cfg = ConfigDict(TEST_CFG)
    found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(30, 20), cfg)
    assert all(len(detections) > 0 for detections in found)
    found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(0, 0), cfg)
    assert [len(detections) for detections in found] == [0, 0]


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (EXT, "'none' and 'fused'.*'complementary'"),
        ({**EXT, 'fusion': 'none', 'readout': 'conv'}, "'fused' or 'fc_conv'.*'conv'"),
    ],
)
def test_heads_that_do_not_fit_are_refused(make_cascade, head, message):
    with pytest.raises(ValueError, match=f'CascadeDoubleHeadRoIHead: .*{message}'):
        make_cascade(**head)

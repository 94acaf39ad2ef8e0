"""Double-Head in every stage of Cascade R-CNN."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from small_double_head import EXT, EXTRACTOR, HEAD, TEST_CFG, TRAIN_CFG

NUM_STAGES = 2


@pytest.fixture
def make_cascade():
    def make(head_type='mmdet_detnet.DoubleConvFCBBoxHead', **head):
        torch.manual_seed(0)
        bbox_head = dict(type=head_type, reg_class_agnostic=True, **{**HEAD, **head})
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
        (dict(head_type='mmdet.DoubleConvFCBBoxHead'), 'must be a mmdet_detnet'),
    ],
)
def test_heads_that_do_not_fit_are_refused(make_cascade, head, message):
    with pytest.raises(ValueError, match=f'CascadeDoubleHeadRoIHead: .*{message}'):
        make_cascade(**head)

"""Double-Head under autocast and with float16 weights: boxes and scores are float32."""

import pytest
import torch
from helpers import needs_torch
from mmengine.config import ConfigDict
from small_double_head import CHANNELS, EXT, NUM_CLASSES, TEST_CFG

TEST_CFG = ConfigDict(TEST_CFG)


@pytest.mark.parametrize('head', [{}, EXT])
@torch.no_grad()
def test_bfloat16_autocast_keeps_boxes_and_scores_in_float32(
    make_roi_head, feats, make_proposals, make_metas, head
):
    roi_head = make_roi_head(head=head)
    feats = [feat.bfloat16() for feat in feats]
    with torch.autocast('cpu', torch.bfloat16):
        assert roi_head.bbox_head.fc_features(torch.rand(1, CHANNELS, 7, 7)).dtype == torch.bfloat16
        found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(40, 40), TEST_CFG)
    for detections in found:
        assert detections.bboxes.dtype == detections.scores.dtype == torch.float32
        assert len(detections) > 10


def test_outputs_under_bfloat16_autocast_are_float32(make_head):
    x = torch.randn(3, CHANNELS, 7, 7)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = make_head(**EXT)(x, x)
    assert [output.dtype for output in outputs] == [torch.float32] * 4


def test_probabilities_of_low_precision_logits_are_float32(make_head):
    logits = torch.randn(5, NUM_CLASSES + 1).bfloat16()
    expected = logits.float().softmax(1)
    assert torch.equal(make_head(**EXT).class_probabilities(logits), expected)


@needs_torch('2.2', 'CPUs have no products of float16 matrices')
@torch.no_grad()
def test_float16_weights_keep_boxes_and_scores_in_float32(
    make_roi_head, feats, make_proposals, make_metas
):
    roi_head = make_roi_head(head=EXT).half()
    feats = [feat.half() for feat in feats]
    found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(40, 40), TEST_CFG)
    for detections in found:
        assert detections.bboxes.dtype == detections.scores.dtype == torch.float32


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('head', [{}, EXT])
@torch.no_grad()
def test_autocast_on_cuda_keeps_boxes_and_scores_in_float32(
    make_roi_head, feats, make_proposals, make_metas, head, dtype
):
    roi_head = make_roi_head(head=head).cuda()
    feats = [feat.to('cuda', dtype) for feat in feats]
    proposals = [results.to('cuda') for results in make_proposals(40, 40)]
    with torch.autocast('cuda', dtype):
        found = roi_head.predict_bbox(feats, make_metas(2), proposals, TEST_CFG)
    for detections in found:
        assert detections.bboxes.dtype == detections.scores.dtype == torch.float32
        assert len(detections) > 10

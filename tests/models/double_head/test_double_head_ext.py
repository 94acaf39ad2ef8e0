"""Double-Head-Ext: its losses, its fusions, and precision."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import bbox2roi
from small_double_head import (
    CHANNELS,
    EXT,
    NUM_CLASSES,
    TEST_CFG,
    assert_every_parameter_has_a_gradient,
    count_convolved,
    make_feats,
    make_metas,
    make_proposals,
    make_roi_head,
    sample_rois,
    sum_losses,
)

LOSS_NAMES = {'loss_cls', 'acc', 'loss_bbox', 'unfocused_loss_cls', 'unfocused_acc'}
LOSS_NAMES |= {'unfocused_loss_bbox'}


def make_ext(**options):
    return make_roi_head(head={**EXT, **options})


def test_losses_are_the_papers():
    """Equations 2 and 3, with cross entropy and smooth L1 averaged over all sampled RoIs."""
    roi_head = make_ext()
    sampled = sample_rois(roi_head, 3, 2)
    results = roi_head.bbox_loss(make_feats(), sampled)
    labels, _, targets, _ = roi_head.bbox_head.get_targets(sampled, roi_head.train_cfg)

    def regression(deltas):
        positive = (labels < NUM_CLASSES).nonzero().squeeze(1)
        own = deltas.view(len(labels), NUM_CLASSES, 4)[positive, labels[positive]]
        return F.smooth_l1_loss(own, targets[positive], reduction='sum') / len(labels)

    expected = {
        'loss_cls': 1.4 * F.cross_entropy(results['cls_score'], labels),
        'unfocused_loss_bbox': 0.6 * regression(results['fc_bbox_pred']),
        'unfocused_loss_cls': 0.5 * F.cross_entropy(results['conv_cls_score'], labels),
        'loss_bbox': 2.0 * regression(results['bbox_pred']),
    }
    assert expected['loss_bbox'] > 0
    for name, value in expected.items():
        torch.testing.assert_close(results['loss_bbox'][name], value)


@pytest.mark.parametrize('numbers', [(3, 2), (2, 0), (0, 0)])
def test_every_parameter_has_a_gradient(numbers):
    roi_head = make_ext(num_nonlocal=2).train()
    losses = roi_head.bbox_loss(make_feats(), sample_rois(roi_head, *numbers))['loss_bbox']
    assert set(losses) == LOSS_NAMES
    if numbers == (0, 0):
        assert losses['loss_bbox'] == losses['unfocused_loss_bbox'] == 0
    sum_losses(losses).backward()
    assert_every_parameter_has_a_gradient(roi_head)


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (dict(lambda_fc=1.0), 'unfocused_loss_cls'),
        (dict(lambda_conv=1.0, fusion='none'), 'unfocused_loss_bbox'),
    ],
)
def test_one_unfocused_task_alone(options, name):
    roi_head = make_ext(**options)
    losses = roi_head.bbox_loss(make_feats(), sample_rois(roi_head, 3, 2))['loss_bbox']
    assert {key for key in losses if key.startswith('unfocused_loss')} == {name}


def run_both_heads(roi_head, feats, rois):
    results = roi_head._bbox_forward(feats, rois)
    names = ('cls_score', 'bbox_pred', 'conv_cls_score', 'fc_bbox_pred')
    return [results[name] for name in names]


def restated_scores(fusion, fc_logits, conv_logits):
    fc, conv = fc_logits.softmax(1), conv_logits.softmax(1)
    return dict(
        none=fc,
        complementary=1 - (1 - fc) * (1 - conv),
        max=fc.maximum(conv),
        average=(fc + conv) / 2,
        fc=fc,
        conv=conv,
    )[fusion]


@pytest.mark.parametrize('fusion', ['none', 'complementary', 'max', 'average', 'fc', 'conv'])
@torch.no_grad()
def test_detections(fusion):
    roi_head, feats, proposals = make_ext(), make_feats(), make_proposals(60, 40)
    head = roi_head.bbox_head
    head.fusion = fusion
    detections = roi_head.predict_bbox(feats, make_metas(2), proposals, TEST_CFG, rescale=True)
    rois = bbox2roi([results.bboxes for results in proposals])
    fc_logits, conv_deltas, conv_logits, fc_deltas = run_both_heads(roi_head, feats, rois)
    scores = restated_scores(fusion, fc_logits, conv_logits)
    deltas = fc_deltas if fusion == 'fc' else conv_deltas
    boxes = head.bbox_coder.decode(
        rois[:, 1:].repeat_interleave(NUM_CLASSES, 0), deltas.view(-1, 4), max_shape=(128, 192)
    )
    boxes = boxes.view(len(rois), -1) / 2  # meta information has a scale factor of 2
    for image, found in enumerate(detections):
        own = rois[:, 0] == image
        expected, labels = multiclass_nms(boxes[own], scores[own], 0.05, TEST_CFG.nms, 100)
        torch.testing.assert_close(found.bboxes, expected[:, :4])
        torch.testing.assert_close(found.scores, expected[:, 4])
        assert torch.equal(found.labels, labels)
        assert len(labels) > 10


@torch.no_grad()
def test_without_a_test_config_all_fused_scores_and_boxes_are_returned():
    roi_head, feats, proposals = make_ext(), make_feats(1), make_proposals(20)
    (found,) = roi_head.predict_bbox(feats, make_metas(1), proposals, None)
    fc_logits, _, conv_logits, _ = run_both_heads(roi_head, feats, bbox2roi([proposals[0].bboxes]))
    expected = restated_scores('complementary', fc_logits, conv_logits)
    torch.testing.assert_close(found.scores, expected)
    assert found.bboxes.shape == (20, NUM_CLASSES * 4)


@pytest.mark.parametrize('lambda_fc', [0.7, 1.0])
@torch.no_grad()
def test_gate_keeps_the_fc_heads_scores_and_boxes_below_it(lambda_fc):
    roi_head, feats = make_ext(lambda_fc=lambda_fc), make_feats()
    rois = bbox2roi([results.bboxes for results in make_proposals(40, 40)])
    _, exact_scores, exact_deltas = roi_head.score_rois(feats, rois, TEST_CFG)
    fc_logits, _, _, fc_deltas = run_both_heads(roi_head, feats, rois)
    best = fc_logits.softmax(1)[:, :-1].amax(1)
    roi_head.gate_score_thr = best.sort().values[39:41].mean().item()
    _, scores, deltas = roi_head.score_rois(feats, rois, TEST_CFG)
    passed = best > roi_head.gate_score_thr
    assert passed.sum() == 40
    torch.testing.assert_close(scores[passed], exact_scores[passed])
    torch.testing.assert_close(deltas[passed], exact_deltas[passed])
    assert torch.equal(scores[~passed], fc_logits.softmax(1)[~passed])
    left_out = torch.zeros_like(exact_deltas) if fc_deltas is None else fc_deltas
    assert torch.equal(deltas[~passed], left_out[~passed])


@pytest.mark.parametrize(
    ('options', 'convolved'),
    [({}, 80), (dict(gate_score_thr=0.0), 80), (dict(gate_score_thr=1.0), 0)],
)
@torch.no_grad()
def test_gate_is_off_by_default_and_can_skip_every_roi(options, convolved):
    roi_head = make_roi_head(head=EXT, **options)
    counts = count_convolved(roi_head.bbox_head)
    found = roi_head.predict_bbox(make_feats(), make_metas(2), make_proposals(40, 40), TEST_CFG)
    assert all(len(detections) > 0 for detections in found)
    assert counts == [convolved]


@pytest.mark.parametrize('number', [0, 30])
@torch.no_grad()
def test_images_without_proposals(number):
    inputs = make_feats(), make_metas(2), make_proposals(0, number), TEST_CFG
    found = make_ext().predict_bbox(*inputs)
    assert [len(detections) > 0 for detections in found] == [False, number > 0]


@pytest.mark.parametrize('head', [{}, EXT])
@torch.no_grad()
def test_bfloat16_autocast_keeps_boxes_and_scores_in_float32(head):
    roi_head, feats = make_roi_head(head=head), [feat.bfloat16() for feat in make_feats()]
    x = torch.rand(3, CHANNELS, 7, 7)
    with torch.autocast('cpu', torch.bfloat16):
        assert roi_head.bbox_head.fc_branch[0](x.flatten(1)).dtype == torch.bfloat16
        outputs = roi_head.bbox_head(x, x)
        found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(40, 40), TEST_CFG)
    assert {output.dtype for output in outputs} == {torch.float32}
    for detections in found:
        assert detections.bboxes.dtype == detections.scores.dtype == torch.float32
        assert len(detections) > 10

"""Double-Head-Ext: its losses, its fusions, and precision."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from small_double_head import CHANNELS, EXT, NUM_CLASSES, TEST_CFG

LOSS_NAMES = {'loss_cls', 'acc', 'loss_bbox', 'unfocused_loss_cls', 'unfocused_acc'}
LOSS_NAMES |= {'unfocused_loss_bbox'}
TEST_CFG = ConfigDict(TEST_CFG)


@pytest.fixture
def make_ext(make_roi_head):
    return lambda **options: make_roi_head(head={**EXT, **options})


def test_losses_are_the_papers(make_ext, feats, sample_rois):
    """Equations 2 and 3, with cross entropy and smooth L1 averaged over all sampled RoIs."""
    roi_head = make_ext()
    head = roi_head.bbox_head
    sampled = sample_rois(roi_head, 3, 2)
    results = roi_head.bbox_loss(feats, sampled)
    labels, _, targets, _ = head.get_targets(sampled, roi_head.train_cfg)
    conv_cls_score, fc_bbox_pred = results['conv_cls_score'], results['fc_bbox_pred']

    def classification(logits):
        return F.cross_entropy(logits, labels)

    def regression(deltas):
        positive = (labels < NUM_CLASSES).nonzero().squeeze(1)
        own = deltas.view(len(labels), NUM_CLASSES, 4)[positive, labels[positive]]
        return F.smooth_l1_loss(own, targets[positive], reduction='sum') / len(labels)

    expected = {
        'loss_cls': 1.4 * classification(results['cls_score']),
        'unfocused_loss_bbox': 0.6 * regression(fc_bbox_pred),
        'unfocused_loss_cls': 0.5 * classification(conv_cls_score),
        'loss_bbox': 2.0 * regression(results['bbox_pred']),
    }
    assert expected['loss_bbox'] > 0
    for name, value in expected.items():
        torch.testing.assert_close(results['loss_bbox'][name], value)


@pytest.mark.parametrize('numbers', [(3, 2), (2, 0), (0, 0)])
def test_every_parameter_has_a_gradient(make_ext, feats, sample_rois, numbers):
    roi_head = make_ext(num_nonlocal=2).train()
    losses = roi_head.bbox_loss(feats, sample_rois(roi_head, *numbers))['loss_bbox']
    assert set(losses) == LOSS_NAMES
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, parameter in roi_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_no_ground_truth_gives_box_losses_of_zero(make_ext, feats, sample_rois):
    roi_head = make_ext().train()
    losses = roi_head.bbox_loss(feats, sample_rois(roi_head, 0, 0))['loss_bbox']
    assert losses['loss_bbox'] == losses['unfocused_loss_bbox'] == 0
    assert losses['loss_bbox'].requires_grad and losses['unfocused_loss_bbox'].requires_grad


def test_one_unfocused_task_alone(make_ext, feats, sample_rois):
    for options, name in (
        (dict(lambda_fc=1.0), 'unfocused_loss_cls'),
        (dict(lambda_conv=1.0, fusion='none'), 'unfocused_loss_bbox'),
    ):
        roi_head = make_ext(**options)
        losses = roi_head.bbox_loss(feats, sample_rois(roi_head, 3, 2))['loss_bbox']
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
def test_detections(make_ext, feats, make_proposals, make_metas, fusion):
    roi_head = make_ext()
    head = roi_head.bbox_head
    head.fusion = fusion
    proposals = make_proposals(60, 40)
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


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('readout', 'fusion'),
        ('unfocused_loss_cls', 'lambda_conv'),
        ('unfocused_loss_bbox', 'lambda_fc'),
    ],
)
def test_former_arguments_name_their_successors(make_head, old, new):
    with pytest.raises(ValueError, match=f'{old} must be left out; use {new}'):
        make_head(**EXT, **{old: 'conv'})


@torch.no_grad()
def test_raw_results_are_fused(make_ext, feats, make_proposals, make_metas):
    """Without a test config, boxes and scores of all RoIs are wanted."""
    roi_head = make_ext()
    (found,) = roi_head.predict_bbox(
        [feat[:1] for feat in feats], make_metas(1), make_proposals(20), None
    )
    rois = bbox2roi([results.bboxes for results in make_proposals(20)])
    fc_logits, _, conv_logits, _ = run_both_heads(roi_head, feats, rois)
    expected = restated_scores('complementary', fc_logits, conv_logits)
    torch.testing.assert_close(found.scores, expected)
    assert found.bboxes.shape == (20, NUM_CLASSES * 4)


@pytest.mark.parametrize('lambda_fc', [0.7, 1.0])
@torch.no_grad()
def test_gate_keeps_the_fc_heads_scores_and_boxes_below_it(
    make_ext, feats, make_proposals, lambda_fc
):
    roi_head = make_ext(lambda_fc=lambda_fc)
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


@torch.no_grad()
def test_gate_is_off_by_default_and_can_skip_every_roi(make_ext, feats, make_proposals, make_metas):
    roi_head = make_ext()
    counts = []
    convolve = roi_head.bbox_head.conv_features
    roi_head.bbox_head.conv_features = lambda x: counts.append(len(x)) or convolve(x)
    for gate in (None, 0.0, 1.0):
        roi_head.gate_score_thr = roi_head.gate_score_thr if gate is None else gate
        found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(40, 40), TEST_CFG)
        assert all(len(detections) > 0 for detections in found)
    assert counts == [80, 80, 0]


@pytest.mark.parametrize('number', [0, 30])
@torch.no_grad()
def test_images_without_proposals(make_ext, feats, make_proposals, make_metas, number):
    found = make_ext().predict_bbox(feats, make_metas(2), make_proposals(0, number), TEST_CFG)
    assert [len(detections) > 0 for detections in found] == [False, number > 0]


@pytest.mark.parametrize('head', [{}, EXT])
@torch.no_grad()
def test_bfloat16_autocast_keeps_boxes_and_scores_in_float32(
    make_roi_head, feats, make_proposals, make_metas, head
):
    roi_head = make_roi_head(head=head)
    feats = [feat.bfloat16() for feat in feats]
    with torch.autocast('cpu', torch.bfloat16):
        features = roi_head.bbox_head.fc_branch[0](torch.rand(1, CHANNELS * 49))
        assert features.dtype == torch.bfloat16
        found = roi_head.predict_bbox(feats, make_metas(2), make_proposals(40, 40), TEST_CFG)
    for detections in found:
        assert detections.bboxes.dtype == detections.scores.dtype == torch.float32
        assert len(detections) > 10


def test_outputs_under_bfloat16_autocast_are_float32(make_head):
    x = torch.randn(3, CHANNELS, 7, 7)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = make_head(**EXT)(x, x)
    assert [output.dtype for output in outputs] == [torch.float32] * 4

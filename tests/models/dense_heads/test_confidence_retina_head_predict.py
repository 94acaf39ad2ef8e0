"""ConfidenceRetinaHead: the joint score, and the detections that it leads to."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict

from mmdet_detnet.models.dense_heads.joint_score import joint_logits

NUM_CLASSES = 3
ALL_CANDIDATES = ConfigDict(nms_pre=100_000, score_thr=0.0)


def samples_of(metas, truths=None):
    samples = [DetDataSample(metainfo=meta) for meta in metas]
    for sample, truth in zip(samples, truths or [], strict=False):
        sample.gt_instances = truth
    return samples


def flatten(maps, width, image=0):
    """Bring the maps of one image into the order of its anchors: a (K, width) array a level."""
    return [level[image].permute(1, 2, 0).reshape(-1, width).double() for level in maps]


def joint_score(outputs, exponent, image=0):
    """Compute the product in float64: a (K, classes) array for each level."""
    classes, confs = flatten(outputs[0], NUM_CLASSES, image), flatten(outputs[2], 1, image)
    return [
        (cls.sigmoid() ** (1 - exponent) * conf.sigmoid() ** exponent).numpy()
        for cls, conf in zip(classes, confs, strict=True)
    ]


def decode(anchors, deltas):
    """Decode boxes as Fast R-CNN defines them, and clip them to the image."""
    sizes = anchors[:, 2:] - anchors[:, :2]
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * sizes
    half = sizes * np.exp(deltas[:, 2:]) / 2
    return np.concatenate([centers - half, centers + half], 1).clip(0, 128)


def suppress(boxes, scores, threshold):
    """Plain NMS: return the indices of the kept boxes, best first."""
    order, kept = list(np.argsort(-scores)), []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while order:
        best = order.pop(0)
        kept.append(best)
        lower = np.maximum(boxes[best, :2], boxes[order, :2])
        upper = np.minimum(boxes[best, 2:], boxes[order, 2:])
        overlap = (upper - lower).clip(0).prod(1)
        iou = overlap / (areas[best] + areas[order] - overlap)
        order = [index for index, value in zip(order, iou, strict=True) if value <= threshold]
    return kept


def official_detections(outputs, anchors, exponent, cfg):
    """Restate the authors' post-processing, with the product on every level.

    They keep the anchors with the best class, with all of their classes; then NMS a class.
    """
    boxes, scores = [], []
    deltas = flatten(outputs[1], 4)
    for level, joint in enumerate(joint_score(outputs, exponent)):
        best = np.argsort(-joint.max(1))[: cfg.nms_pre]
        scores.append(joint[best])
        boxes.append(decode(anchors[level].double().numpy()[best], deltas[level].numpy()[best]))
    boxes, scores = np.concatenate(boxes), np.concatenate(scores)
    detections = []
    for label in range(NUM_CLASSES):
        passing = np.flatnonzero(scores[:, label] > cfg.score_thr)
        kept = passing[suppress(boxes[passing], scores[passing, label], cfg.nms.iou_threshold)]
        detections += [(scores[index, label], label, boxes[index]) for index in kept]
    return sorted(detections, key=lambda detection: -detection[0])[: cfg.max_per_img]


@pytest.mark.parametrize('exponent', [0.3, 0.4, 0.7])
def test_agrees_with_the_official_scoring(make_head, outputs, metas, exponent):
    head = make_head(conf_exponent=exponent)
    anchors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in outputs[0]], device='cpu'
    )
    expected = official_detections(outputs, anchors, exponent, head.test_cfg)
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert len(result) == len(expected) == head.test_cfg.max_per_img
    scores, labels, boxes = (np.array(values) for values in zip(*expected, strict=True))
    np.testing.assert_allclose(result.scores, scores, rtol=0, atol=1e-6)
    assert result.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(result.bboxes, boxes, rtol=0, atol=1e-3)


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
def test_exponent_zero_is_retina_head(make_head, features, metas, select_by):
    head = make_head(conf_exponent=0, select_by=select_by)
    torch.nn.init.normal_(head.retina_cls.weight)
    stock = make_head(type='RetinaHead')
    stock.load_state_dict(head.state_dict(), strict=False)
    ours = head.predict(features, samples_of(metas))
    for result, expected in zip(ours, stock.predict(features, samples_of(metas)), strict=True):
        assert len(result) == 20
        for name in ('bboxes', 'labels', 'scores'):
            assert torch.equal(result[name], expected[name])


def test_confidence_counts_on_every_level(make_head, outputs, metas):
    result = make_head().predict_by_feat(
        *outputs, batch_img_metas=metas, cfg=ALL_CANDIDATES, with_nms=False
    )[0]
    expected = [np.sort(level.ravel())[::-1] for level in joint_score(outputs, 0.4)]
    np.testing.assert_allclose(result.scores, np.concatenate(expected), rtol=2e-6)


def test_order_at_one_half_is_that_of_the_product(make_head, outputs, metas):
    coarsest = [maps[-1:] for maps in outputs]
    head = make_head(
        conf_exponent=0.5,
        anchor_generator=dict(
            type='AnchorGenerator',
            strides=[128],
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
        ),
    )
    result = head.predict_by_feat(
        *coarsest, batch_img_metas=metas, cfg=ALL_CANDIDATES, with_nms=False
    )[0]
    cls, conf = coarsest[0][0][0].reshape(9, 3).sigmoid(), coarsest[2][0][0].reshape(9, 1).sigmoid()
    order = (cls * conf).flatten().argsort(descending=True)
    assert torch.equal(result.labels, order % 3)


def test_selection_by_class_score_keeps_the_candidates_of_retina_head(make_head, outputs, metas):
    head = make_head(select_by='cls')
    ours = head.predict_by_feat(*outputs, batch_img_metas=metas, with_nms=False)[0]
    stock = make_head(type='RetinaHead').predict_by_feat(
        *outputs[:2], batch_img_metas=metas, with_nms=False
    )[0]
    assert torch.equal(ours.bboxes, stock.bboxes)
    assert torch.equal(ours.labels, stock.labels)
    # What passed on its class score keeps its place even if the joint score is below.
    assert ours.scores.min() < head.test_cfg.score_thr < stock.scores.min()


def test_selection_by_class_score_ranks_by_the_joint_score(make_head, outputs, metas):
    head = make_head(select_by='cls')
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert torch.equal(result.scores, result.scores.sort(descending=True).values)
    joint = np.concatenate([level.ravel() for level in joint_score(outputs, 0.4)])
    distance = np.abs(result.scores.numpy()[:, None] - joint).min(1)
    assert distance.max() < 1e-6
    # Here the best detections pass either selection.
    reference = make_head().predict_by_feat(*outputs, batch_img_metas=metas)[0]
    torch.testing.assert_close(result.scores[:10], reference.scores[:10])


def test_folded_logits_reach_both_ends():
    logits = torch.tensor([-200.0, -50, 0, 50, 200])
    cls_logits, conf_logits = torch.meshgrid(logits, logits, indexing='ij')
    folded = joint_logits(cls_logits[None, :, None], conf_logits[None, :, None], 0.4)
    expected = cls_logits.double().sigmoid() ** 0.6 * conf_logits.double().sigmoid() ** 0.4
    torch.testing.assert_close(folded[0, :, 0].sigmoid(), expected.float(), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize('score_thr', [0.05, 0.3, 1.0])
@pytest.mark.parametrize('exponent', [0.4, 0.7])
def test_folding_loses_no_score_above_the_threshold(outputs, exponent, score_thr):
    for cls_logits, _, conf_logits in zip(*outputs, strict=True):
        every = joint_logits(cls_logits, conf_logits, exponent).sigmoid()
        some = joint_logits(cls_logits, conf_logits, exponent, score_thr).sigmoid()
        passing = every > score_thr
        assert torch.equal(some > score_thr, passing)
        torch.testing.assert_close(some[passing], every[passing])


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
def test_prediction_is_float32_under_autocast(make_head, features, metas, select_by):
    head = make_head(select_by=select_by)
    torch.nn.init.normal_(head.retina_cls.weight)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        outputs = head(features)
        results = head.predict(features, samples_of(metas))
    assert outputs[0][0].dtype == torch.bfloat16
    in_float32 = [[level.float() for level in levels] for levels in outputs]
    for result, expected in zip(
        results, head.predict_by_feat(*in_float32, batch_img_metas=metas), strict=True
    ):
        assert result.scores.dtype == result.bboxes.dtype == torch.float32
        assert torch.equal(result.scores, expected.scores)
        assert torch.equal(result.bboxes, expected.bboxes)


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_bad_features_give_no_detection(make_head, features, metas, select_by, value):
    head = make_head(select_by=select_by, test_cfg={**make_head().test_cfg, 'score_thr': 0.0})
    features = [torch.full_like(feature, value) for feature in features]
    assert [len(result) for result in head.predict(features, samples_of(metas))] == [0, 0]


def test_loss_and_predict(make_head, features, truths, metas):
    head = make_head(test_cfg={**make_head().test_cfg, 'score_thr': 0.0})
    losses, results = head.loss_and_predict(features, samples_of(metas, truths))
    loss_conf = losses.pop('loss_conf')
    (loss_conf + sum(map(sum, losses.values()))).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    for result, expected in zip(results, head.predict(features, samples_of(metas)), strict=True):
        assert torch.equal(result.scores, expected.scores)
        assert not result.scores.requires_grad


def test_exponent_can_be_set_on_a_built_head(make_head, outputs, metas):
    head = make_head()
    head.conf_exponent = 0.7
    expected = make_head(conf_exponent=0.7).predict_by_feat(*outputs, batch_img_metas=metas)[0]
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert torch.equal(result.scores, expected.scores)
    with pytest.raises(ValueError, match=r'conf_exponent must be .* got 1\.5'):
        head.conf_exponent = 1.5

"""RetinaNet-Conf: losses and gradients, the joint score and its detections, and ATSS."""

import math

import numpy as np
import pytest
import torch
from mmdet.models import RetinaHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mmdet_detnet import config_path
from mmdet_detnet.models import ConfidenceRetinaHead
from mmdet_detnet.models.retinanet_conf import joint_logits

NUM_CLASSES = 3
CHANNELS = 8
NUM_ANCHORS = 9
IMAGE_SIZE = 128
# Strides 8 to 128: 2304, 576, 144, 36 and 9 anchors.
LEVEL_SIZES = (16, 8, 4, 2, 1)

HEAD = dict(
    type='mmdet_detnet.ConfidenceRetinaHead',
    num_classes=NUM_CLASSES,
    in_channels=CHANNELS,
    feat_channels=CHANNELS,
    stacked_convs=1,
    loss_cls=dict(type='FocalLoss', use_sigmoid=True),
    loss_bbox=dict(type='L1Loss'),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(
        # Fewer than the two finest levels have, more than the others.
        nms_pre=200,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=20,
    ),
)


@pytest.fixture
def make_head():
    """Return a function that builds the head, with changed arguments if it is given any."""
    return lambda **kwargs: MODELS.build(ConfigDict({**HEAD, **kwargs}))


@pytest.fixture
def features():
    """Five levels of features for two images."""
    return [torch.randn(2, CHANNELS, size, size) for size in LEVEL_SIZES]


@pytest.fixture
def outputs():
    """Class, box and confidence maps as of a trained head: few high scores among many low ones."""
    return tuple(
        [mean + std * torch.randn(2, NUM_ANCHORS * width, size, size) for size in LEVEL_SIZES]
        for width, mean, std in ((NUM_CLASSES, -4, 2), (4, 0, 0.3), (1, 0, 2))
    )


@pytest.fixture
def metas():
    """Meta information of two images that fill the batch."""
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    return [dict(img_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)) for _ in range(2)]


@pytest.fixture
def gts():
    """Ground truth of two images: two boxes, and one."""
    return [
        InstanceData(
            bboxes=torch.tensor([[8.0, 10, 50, 55], [60, 20, 125, 120]]),
            labels=torch.tensor([0, 2]),
        ),
        InstanceData(bboxes=torch.tensor([[20.0, 20, 64, 60]]), labels=torch.tensor([1])),
    ]


def no_boxes():
    return InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))


def has_gradient(module):
    gradients = [parameter.grad for parameter in module.parameters()]
    return any(gradient is not None and gradient.any() for gradient in gradients)


def dense_loss_conf(head, outputs, gts, metas):
    """Restate the authors' formula: all anchors, weighted by 1 at positives and 0 elsewhere."""
    sizes = [level.shape[-2:] for level in outputs[0]]
    anchors, valid_flags = head.get_anchors(sizes, metas, device='cpu')
    targets = head.get_targets(anchors, valid_flags, gts, metas)
    losses = []
    for bbox_pred, conf, priors, bbox_target, weight in zip(
        *outputs[1:], anchors[0], targets[2], targets[3], strict=True
    ):
        priors = priors.repeat(len(metas), 1)
        boxes = head.bbox_coder.decode(priors, bbox_pred.permute(0, 2, 3, 1).reshape(-1, 4))
        gt_boxes = head.bbox_coder.decode(priors, bbox_target.reshape(-1, 4))
        top_left = torch.maximum(boxes[:, :2], gt_boxes[:, :2])
        bottom_right = torch.minimum(boxes[:, 2:], gt_boxes[:, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(1)
        areas = [(corners[:, 2:] - corners[:, :2]).prod(1) for corners in (boxes, gt_boxes)]
        iou = overlap / (areas[0] + areas[1] - overlap)
        loss = nn.functional.binary_cross_entropy_with_logits(
            conf.permute(0, 2, 3, 1).reshape(-1), iou, reduction='none'
        )
        losses.append((loss * weight.reshape(-1, 4)[:, 0]).sum() / targets[4])
    return sum(losses)


def test_forward_returns_a_confidence_map_for_each_level(make_head, features):
    cls_scores, bbox_preds, confs = make_head()(features)
    for level, conf in enumerate(confs):
        assert conf.shape == (2, 9, *features[level].shape[-2:])
        assert cls_scores[level].shape == (2, 27, *conf.shape[2:])
        assert bbox_preds[level].shape == (2, 36, *conf.shape[2:])


def test_branch_adds_one_convolution_to_retina_head():
    with torch.device('meta'):
        mmdets = RetinaHead(80, 256).state_dict()
        ours = ConfidenceRetinaHead(80, 256).state_dict()
    added = {name: tensor.numel() for name, tensor in ours.items() if name not in mmdets}
    assert added == {'retina_conf.weight': 256 * 9 * 9, 'retina_conf.bias': 9}
    assert mmdets.keys() < ours.keys()


def test_untrained_confidence_is_one_half_and_its_loss_ln_2(make_head, features, gts, metas):
    head = make_head()
    head.init_weights()
    outputs = head(features)
    for conf in outputs[2]:
        torch.testing.assert_close(conf.sigmoid(), torch.full_like(conf, 0.5), atol=0.05, rtol=0)
    losses = head.loss_by_feat(*outputs, gts, metas)
    assert losses['loss_conf'].item() == pytest.approx(math.log(2), abs=0.02)


@pytest.mark.parametrize('sizes', [(128, 128), (128, 72)], ids=['equal sizes', 'unequal sizes'])
def test_loss_is_the_dense_formula(make_head, outputs, gts, metas, sizes):
    for meta, size in zip(metas, sizes, strict=True):
        meta.update(img_shape=(size, size), pad_shape=(size, size))
    head = make_head()
    losses = head.loss_by_feat(*outputs, gts, metas)
    expected = dense_loss_conf(head, outputs, gts, metas)
    assert expected > 0.1
    torch.testing.assert_close(losses['loss_conf'], expected)


def test_other_losses_are_those_of_retina_head(make_head, outputs, gts, metas):
    ours = make_head().loss_by_feat(*outputs, gts, metas)
    mmdets = make_head(type='RetinaHead').loss_by_feat(*outputs[:2], gts, metas)
    assert list(ours) == ['loss_cls', 'loss_bbox', 'loss_conf']
    for name, expected in mmdets.items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=0)


def test_loss_with_decoded_boxes_and_giou(make_head, outputs, gts, metas):
    encoded = make_head().loss_by_feat(*outputs, gts, metas)
    head = make_head(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss'))
    decoded = head.loss_by_feat(*outputs, gts, metas)
    torch.testing.assert_close(decoded['loss_conf'], encoded['loss_conf'])


def test_loss_conf_can_be_configured(make_head, outputs, gts, metas):
    once = make_head().loss_by_feat(*outputs, gts, metas)
    config = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0)
    twice = make_head(loss_conf=config).loss_by_feat(*outputs, gts, metas)
    assert twice['loss_conf'] == pytest.approx(2 * once['loss_conf'])


@pytest.mark.parametrize(
    ('feature_source', 'detach', 'learning'),
    [
        ('cls', False, {'retina_conf', 'cls_convs', 'reg_convs', 'retina_reg'}),
        ('cls', True, {'retina_conf', 'cls_convs'}),
        ('reg', False, {'retina_conf', 'reg_convs', 'retina_reg'}),
        ('reg', True, {'retina_conf', 'reg_convs'}),
    ],
)
def test_what_the_confidence_loss_trains(
    make_head, features, gts, metas, feature_source, detach, learning
):
    head = make_head(feature_source=feature_source, detach_iou_target=detach)
    losses = head.loss_by_feat(*head(features), gts, metas)
    losses['loss_conf'].backward()
    assert {name for name, module in head.named_children() if has_gradient(module)} == learning


@pytest.mark.parametrize('confidence_logit', [2.0, -2.0])
def test_target_with_gradient_pulls_the_iou_to_the_confidence(
    make_head, outputs, gts, metas, confidence_logit
):
    cls_scores, bbox_preds, confs = outputs
    bbox_preds = [bbox_pred.requires_grad_() for bbox_pred in bbox_preds]
    confs = [torch.full_like(conf, confidence_logit) for conf in confs]
    head = make_head()

    def total_loss():
        return head.loss_by_feat(cls_scores, bbox_preds, confs, gts, metas)['loss_conf']

    # With one logit x for all anchors, the loss is constant - x * mean IoU. So a step that lowers
    # it raises the IoU if x is positive, and lowers it if x is negative.
    loss = total_loss()
    loss.backward()
    torch.optim.SGD(bbox_preds, lr=0.1).step()
    assert total_loss() < loss


def test_no_ground_truth_gives_zeros_with_a_graph(make_head, features, metas):
    head = make_head()
    losses = head.loss_by_feat(*head(features), [no_boxes(), no_boxes()], metas)
    assert list(losses) == ['loss_cls', 'loss_bbox', 'loss_conf']
    assert losses['loss_conf'] == 0
    losses['loss_conf'].backward()
    assert not head.retina_conf.weight.grad.any()


def test_loss_is_float32_under_autocast(make_head, features, gts, metas):
    head = make_head()
    with torch.autocast('cpu', torch.bfloat16):
        outputs = head(features)
        losses = head.loss_by_feat(*outputs, gts, metas)
    assert outputs[2][0].dtype == torch.bfloat16
    assert losses['loss_conf'].dtype == torch.float32
    losses['loss_conf'].backward()
    assert head.retina_conf.weight.grad.isfinite().all()


ALL_CANDIDATES = ConfigDict(nms_pre=100_000, score_thr=0.0)


def samples_of(metas, gts=None):
    samples = [DetDataSample(metainfo=meta) for meta in metas]
    for sample, gt in zip(samples, gts or [], strict=False):
        sample.gt_instances = gt
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


@pytest.mark.parametrize('exponent', [0.4, 0.7])
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
    mmdets = make_head(type='RetinaHead')
    mmdets.load_state_dict(head.state_dict(), strict=False)
    ours = head.predict(features, samples_of(metas))
    for result, expected in zip(ours, mmdets.predict(features, samples_of(metas)), strict=True):
        assert len(result) == 20
        for name in ('bboxes', 'labels', 'scores'):
            assert torch.equal(result[name], expected[name])


def test_confidence_counts_on_every_level(make_head, outputs, metas):
    result = make_head().predict_by_feat(
        *outputs, batch_img_metas=metas, cfg=ALL_CANDIDATES, with_nms=False
    )[0]
    expected = [np.sort(level.ravel())[::-1] for level in joint_score(outputs, 0.4)]
    np.testing.assert_allclose(result.scores, np.concatenate(expected), rtol=2e-6)


def test_selection_by_class_score_keeps_the_candidates_of_retina_head(make_head, outputs, metas):
    head = make_head(select_by='cls')
    ours = head.predict_by_feat(*outputs, batch_img_metas=metas, with_nms=False)[0]
    mmdets = make_head(type='RetinaHead').predict_by_feat(
        *outputs[:2], batch_img_metas=metas, with_nms=False
    )[0]
    assert torch.equal(ours.bboxes, mmdets.bboxes)
    assert torch.equal(ours.labels, mmdets.labels)
    # What passed on its class score keeps its place even if the joint score is below.
    assert ours.scores.min() < head.test_cfg.score_thr < mmdets.scores.min()


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
    folded = joint_logits(cls_logits.reshape(-1, 1), conf_logits.reshape(-1), 0.4)
    expected = cls_logits.double().sigmoid() ** 0.6 * conf_logits.double().sigmoid() ** 0.4
    folded = folded.reshape(expected.shape)
    torch.testing.assert_close(folded.sigmoid(), expected.float(), rtol=1e-5, atol=1e-30)


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


def test_exponent_can_be_set_on_a_built_head(make_head, outputs, metas):
    head = make_head()
    head.conf_exponent = 0.7
    expected = make_head(conf_exponent=0.7).predict_by_feat(*outputs, batch_img_metas=metas)[0]
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert torch.equal(result.scores, expected.scores)
    with pytest.raises(ValueError, match=r'conf_exponent must be .* got 1\.5'):
        head.conf_exponent = 1.5


@pytest.fixture
def detector_config():
    """A detector on a slim ResNet-18, with what the 1x config says about testing."""
    config = Config.fromfile(config_path('retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'))
    config.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    config.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    config.model.bbox_head.update(in_channels=8, feat_channels=8, num_classes=3)
    config.model.test_cfg.score_thr = 0.0
    return config


def test_test_time_augmentation(detector_config):
    tta_model = ConfigDict(**detector_config.tta_model, module=detector_config.model)
    tta_detector = MODELS.build(tta_model).eval()
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), img_id=0)
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    views = [(image, dict(meta, flip=False, flip_direction=None))]
    views += [(image.flip(-1), dict(meta, flip=True, flip_direction='horizontal'))]
    batch = dict(
        inputs=[[view] for view, _ in views],
        data_samples=[[DetDataSample(metainfo=info)] for _, info in views],
    )
    (merged,) = tta_detector.test_step(batch)
    plain = [
        tta_detector.module.test_step(
            dict(inputs=[view], data_samples=[DetDataSample(metainfo=info)])
        )[0]
        for view, info in views
    ]
    best = max(sample.pred_instances.scores.max() for sample in plain)
    assert merged.pred_instances.scores[0] == best


ATSS = {
    'type': 'mmdet_detnet.ConfidenceATSSHead',
    'norm_cfg': dict(type='GN', num_groups=4),
    'loss_bbox': dict(type='GIoULoss', loss_weight=2.0),
    'bbox_coder': dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
    'anchor_generator': dict(
        type='AnchorGenerator',
        ratios=[1.0],
        octave_base_scale=8,
        scales_per_octave=1,
        strides=[8, 16, 32, 64, 128],
    ),
    'train_cfg': dict(assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1),
}


@pytest.fixture
def make_atss(make_head):
    """Return a function that builds the head, with changed arguments if it is given any."""
    return lambda **kwargs: make_head(**{**ATSS, **kwargs})


@pytest.fixture
def atss_outputs():
    """Maps of classes, boxes, centerness and confidence, as of a trained head."""
    torch.manual_seed(0)
    return tuple(
        [mean + std * torch.randn(2, width, size, size) for size in LEVEL_SIZES]
        for width, mean, std in ((NUM_CLASSES, -3, 2), (4, 0, 0.5), (1, 0, 2), (1, 0, 2))
    )


def flatten_atss(maps, width):
    """Bring the maps of the first image into the order of its anchors, (K, width)."""
    return torch.cat([level[0].permute(1, 2, 0).reshape(-1, width) for level in maps])


def decode_atss(anchors, deltas):
    """Decode boxes as Fast R-CNN defines them, by ATSS's standard deviations."""
    deltas = deltas * torch.tensor([0.1, 0.1, 0.2, 0.2])
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * sizes
    half = sizes * deltas[:, 2:].exp() / 2
    return torch.cat([centres - half, centres + half], 1)


def iou(first, second):
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    overlap = sides.clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap)


def test_other_losses_and_outputs_are_those_of_atss_head(make_atss, features, gts, metas):
    head, mmdets = make_atss(), make_atss(type='ATSSHead')
    mmdets.load_state_dict(head.state_dict(), strict=False)
    ours, expected = head(features), mmdets(features)
    for maps, mmdet_maps in zip(ours[:3], expected, strict=True):
        assert all(map(torch.equal, maps, mmdet_maps))
    losses = head.loss_by_feat(*ours, gts, metas)
    mmdet_losses = mmdets.loss_by_feat(*expected, gts, metas)
    assert list(losses) == [*mmdet_losses, 'loss_conf']
    for name, values in mmdet_losses.items():
        torch.testing.assert_close(losses[name], values, rtol=0, atol=0)


def test_confidence_loss_is_the_plain_formula(make_atss, atss_outputs, gts, metas):
    head = make_atss()
    sizes = [level.shape[-2:] for level in atss_outputs[0]]
    anchors, flags = head.get_anchors(sizes, metas, device='cpu')
    _, labels, _, targets, _, num_positives = head.get_targets(anchors, flags, gts, metas)
    loss = head.loss_by_feat(*atss_outputs, gts, metas)['loss_conf']
    total = 0.0
    for level, priors in enumerate(head.prior_generator.grid_priors(sizes, device='cpu')):
        for image in range(2):
            positive = labels[level][image] < NUM_CLASSES
            deltas = atss_outputs[1][level][image].permute(1, 2, 0).reshape(-1, 4)
            confs = atss_outputs[3][level][image].reshape(-1)[positive]
            overlap = iou(decode_atss(priors, deltas)[positive], targets[level][image][positive])
            total += binary_cross_entropy_with_logits(confs, overlap, reduction='sum').item()
    assert total > 1
    assert loss.item() == pytest.approx(total / num_positives, rel=1e-5)


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
@pytest.mark.parametrize('multiply', [False, True])
def test_scores_are_the_product(make_atss, atss_outputs, metas, select_by, multiply):
    head = make_atss(conf_exponent=0.3, select_by=select_by, multiply_centerness=multiply)
    cfg = head.test_cfg | dict(nms_pre=1000)
    result = head.predict_by_feat(*atss_outputs, batch_img_metas=metas, cfg=cfg, with_nms=False)[0]
    cls, deltas, centerness, conf = map(flatten_atss, atss_outputs, (NUM_CLASSES, 4, 1, 1))
    joint = cls.sigmoid() ** 0.7 * conf.sigmoid() ** 0.3
    passing = (cls.sigmoid() if select_by == 'cls' else joint) > head.test_cfg.score_thr
    scores = joint * centerness.sigmoid() if multiply else joint
    sizes = [level.shape[-2:] for level in atss_outputs[0]]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    boxes = decode_atss(anchors, deltas).clamp(0, 128)
    anchor, label = passing.nonzero(as_tuple=True)
    order, ours = scores[passing].argsort(descending=True), result.scores.argsort(descending=True)
    assert len(ours) == len(order) > 50
    torch.testing.assert_close(result.scores[ours], scores[passing][order])
    assert torch.equal(result.labels[ours], label[order])
    torch.testing.assert_close(result.bboxes[ours], boxes[anchor][order], rtol=0, atol=1e-3)


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
def test_exponent_zero_with_centerness_is_atss_head(make_atss, atss_outputs, metas, select_by):
    head = make_atss(conf_exponent=0, select_by=select_by, multiply_centerness=True)
    ours = head.predict_by_feat(*atss_outputs, batch_img_metas=metas)
    mmdets = make_atss(type='ATSSHead').predict_by_feat(*atss_outputs[:3], batch_img_metas=metas)
    for result, expected in zip(ours, mmdets, strict=True):
        assert torch.equal(result.labels, expected.labels)
        torch.testing.assert_close(result.bboxes, expected.bboxes)
        torch.testing.assert_close(result.scores, expected.scores)

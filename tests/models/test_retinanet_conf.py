"""RetinaNet-Conf and its form for ATSS: losses and gradients, the joint score, detections."""

import math

import numpy as np
import pytest
import torch
from mmdet.models import RetinaHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch.nn.functional import binary_cross_entropy_with_logits

from mmdet_detnet import config_path
from mmdet_detnet.models import ConfidenceRetinaHead
from mmdet_detnet.models.retinanet_conf import joint_logits

NUM_CLASSES = 3
CHANNELS = 8
IMAGE_SIZE = 128
# Strides 8 to 128: 2304, 576, 144, 36 and 9 anchors.
LEVEL_SIZES = (16, 8, 4, 2, 1)

RETINA = dict(
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
ATSS = {
    **RETINA,
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
BOTH = pytest.mark.parametrize('config', [RETINA, ATSS], ids=['retina', 'atss'])
BOTH_SELECTIONS = pytest.mark.parametrize('select_by', ['joint', 'cls'])


def make_head(config=RETINA, **changes):
    return MODELS.build(ConfigDict({**config, **changes}))


def make_pair(config, **changes):
    """Build a head, and mmdet's without confidence and with the same weights."""
    head = make_head(config, **changes)
    mmdets = make_head(config, type='RetinaHead' if config is RETINA else 'ATSSHead')
    mmdets.load_state_dict(head.state_dict(), strict=False)
    return head, mmdets


def make_outputs(head):
    """Maps of classes, boxes (centerness) and confidence as of a trained head: few high scores."""
    maps = [(NUM_CLASSES, -4, 2), (4, 0, 0.3), (1, 0, 2)]
    maps += [(1, 0, 2)] * hasattr(head, 'atss_centerness')
    return tuple(
        [mean + std * torch.randn(2, head.num_base_priors * width, s, s) for s in LEVEL_SIZES]
        for width, mean, std in maps
    )


@pytest.fixture
def features():
    """Five levels of features for two images."""
    return [torch.randn(2, CHANNELS, size, size) for size in LEVEL_SIZES]


@pytest.fixture
def metas():
    """Meta information of two images that fill the batch."""
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    return [dict(img_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)) for _ in range(2)]


@pytest.fixture
def gts():
    """Ground truth of two images: two boxes, and one."""
    first = torch.tensor([[8.0, 10, 50, 55], [60, 20, 125, 120]])
    second = torch.tensor([[20.0, 20, 64, 60]])
    return [
        InstanceData(bboxes=first, labels=torch.tensor([0, 2])),
        InstanceData(bboxes=second, labels=torch.tensor([1])),
    ]


def flatten(maps, width, image=0):
    """Bring the maps of one image into the order of its anchors: (K, width) a level."""
    return [level[image].permute(1, 2, 0).reshape(-1, width).double() for level in maps]


def make_anchors(head):
    sizes = [(size, size) for size in LEVEL_SIZES]
    return [level.double() for level in head.prior_generator.grid_priors(sizes, device='cpu')]


def decode(head, anchors, deltas):
    """Decode boxes as Fast R-CNN defines them, by the standard deviations of the head."""
    deltas = deltas * torch.tensor(head.bbox_coder.stds)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * sizes
    half = sizes * deltas[:, 2:].exp() / 2
    return torch.cat([centers - half, centers + half], 1)


def iou(first, second):
    sides = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    overlap = sides.clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap)


def test_branch_adds_one_convolution_to_retina_head():
    with torch.device('meta'):
        mmdets = RetinaHead(80, 256).state_dict()
        ours = ConfidenceRetinaHead(80, 256).state_dict()
    added = {name: tensor.numel() for name, tensor in ours.items() if name not in mmdets}
    assert added == {'retina_conf.weight': 256 * 9 * 9, 'retina_conf.bias': 9}
    assert mmdets.keys() < ours.keys()


@BOTH
def test_untrained_confidence_is_one_half_and_its_loss_ln_2(features, gts, metas, config):
    head = make_head(config)
    head.init_weights()
    outputs = head(features)
    for conf in outputs[-1]:
        torch.testing.assert_close(conf.sigmoid(), torch.full_like(conf, 0.5), atol=0.05, rtol=0)
    losses = head.loss_by_feat(*outputs, gts, metas)
    assert losses['loss_conf'].item() == pytest.approx(math.log(2), abs=0.02)


@BOTH
@pytest.mark.parametrize('sizes', [(128, 128), (128, 72)], ids=['equal sizes', 'unequal sizes'])
def test_confidence_loss_is_the_plain_formula(gts, metas, config, sizes):
    """Cross entropy at the positives, from the IoU of the decoded boxes, over their number."""
    for meta, size in zip(metas, sizes, strict=True):
        meta.update(img_shape=(size, size), pad_shape=(size, size))
    head = make_head(config)
    outputs, anchors = make_outputs(head), make_anchors(head)
    places = head.get_anchors([(size, size) for size in LEVEL_SIZES], metas, device='cpu')
    targets = head.get_targets(*places, gts, metas)
    # ATSS also returns the anchors, and targets of decoded boxes.
    labels, box_targets, number = (
        (targets[0], targets[2], targets[4])
        if config is RETINA
        else (targets[1], targets[3], targets[5])
    )
    total = 0.0
    for image in range(2):
        deltas, confs = flatten(outputs[1], 4, image), flatten(outputs[-1], 1, image)
        for level, priors in enumerate(anchors):
            positive = labels[level][image] < NUM_CLASSES
            boxes = decode(head, priors, deltas[level])[positive]
            gt_boxes = box_targets[level][image].double()
            gt_boxes = gt_boxes if head.reg_decoded_bbox else decode(head, priors, gt_boxes)
            overlap = iou(boxes, gt_boxes[positive])
            logits = confs[level][positive, 0]
            total += binary_cross_entropy_with_logits(logits, overlap, reduction='sum').item()
    assert total > 1
    loss = head.loss_by_feat(*outputs, gts, metas)['loss_conf']
    assert loss.item() == pytest.approx(total / number, rel=1e-4)


@BOTH
def test_other_outputs_and_losses_are_those_of_mmdets_head(features, gts, metas, config):
    head, mmdets = make_pair(config)
    ours, expected = head(features), mmdets(features)
    for maps, mmdet_maps in zip(ours[:-1], expected, strict=True):
        assert all(map(torch.equal, maps, mmdet_maps))
    losses = head.loss_by_feat(*ours, gts, metas)
    mmdet_losses = mmdets.loss_by_feat(*expected, gts, metas)
    assert list(losses) == [*mmdet_losses, 'loss_conf']
    for name, values in mmdet_losses.items():
        torch.testing.assert_close(losses[name], values, rtol=0, atol=0)


def test_confidence_loss_with_decoded_boxes_and_with_a_weight(gts, metas):
    outputs = make_outputs(make_head())
    once = make_head().loss_by_feat(*outputs, gts, metas)['loss_conf']
    decoded = make_head(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss'))
    torch.testing.assert_close(decoded.loss_by_feat(*outputs, gts, metas)['loss_conf'], once)
    double = make_head(loss_conf=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0))
    torch.testing.assert_close(double.loss_by_feat(*outputs, gts, metas)['loss_conf'], 2 * once)


@pytest.mark.parametrize(
    ('feature_source', 'detach', 'learning'),
    [
        ('cls', False, {'retina_conf', 'cls_convs', 'reg_convs', 'retina_reg'}),
        ('cls', True, {'retina_conf', 'cls_convs'}),
        ('reg', False, {'retina_conf', 'reg_convs', 'retina_reg'}),
        ('reg', True, {'retina_conf', 'reg_convs'}),
    ],
)
def test_what_the_confidence_loss_trains(features, gts, metas, feature_source, detach, learning):
    head = make_head(feature_source=feature_source, detach_iou_target=detach)
    losses = head.loss_by_feat(*head(features), gts, metas)
    losses['loss_conf'].backward()
    learned = [
        name
        for name, parameter in head.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    ]
    assert {name.split('.')[0] for name in learned} == learning


@BOTH
def test_no_ground_truth_gives_zeros_with_a_graph(features, metas, config):
    head = make_head(config)
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    losses = head.loss_by_feat(*head(features), [nothing, nothing], metas)
    assert losses['loss_conf'] == 0
    losses['loss_conf'].backward()
    layer = head.retina_conf if config is RETINA else head.atss_conf
    assert layer.weight.grad.eq(0).all()


def test_loss_is_float32_under_autocast(features, gts, metas):
    head = make_head()
    with torch.autocast('cpu', torch.bfloat16):
        outputs = head(features)
        losses = head.loss_by_feat(*outputs, gts, metas)
    assert outputs[2][0].dtype == torch.bfloat16
    assert losses['loss_conf'].dtype == torch.float32
    losses['loss_conf'].backward()
    assert head.retina_conf.weight.grad.isfinite().all()


def samples_of(metas):
    return [DetDataSample(metainfo=meta) for meta in metas]


def suppress(boxes, scores, threshold):
    """Plain NMS: return the indices of the kept boxes, best first."""
    order, kept = scores.argsort(descending=True).tolist(), []
    while order:
        best = order.pop(0)
        kept.append(best)
        overlaps = iou(boxes[best : best + 1].expand(len(order), 4), boxes[order]).tolist()
        order = [index for index, value in zip(order, overlaps, strict=True) if value <= threshold]
    return kept


def official_detections(head, outputs, exponent):
    """Restate the authors' post-processing, with the product on every level.

    They keep the anchors with the best class, with all of their classes; then NMS a class.
    """
    boxes, scores = [], []
    classes, confs = flatten(outputs[0], NUM_CLASSES), flatten(outputs[2], 1)
    for cls, conf, deltas, anchors in zip(
        classes, confs, flatten(outputs[1], 4), make_anchors(head), strict=True
    ):
        joint = cls.sigmoid() ** (1 - exponent) * conf.sigmoid() ** exponent
        best = joint.amax(1).argsort(descending=True)[: head.test_cfg.nms_pre]
        scores.append(joint[best])
        boxes.append(decode(head, anchors, deltas)[best].clamp(0, IMAGE_SIZE))
    boxes, scores, detections = torch.cat(boxes), torch.cat(scores), []
    for label in range(NUM_CLASSES):
        passing = (scores[:, label] > head.test_cfg.score_thr).nonzero().flatten()
        kept = passing[suppress(boxes[passing], scores[passing, label], 0.5)]
        detections += [(scores[i, label].item(), label, boxes[i].tolist()) for i in kept]
    return sorted(detections, key=lambda detection: -detection[0])[: head.test_cfg.max_per_img]


@pytest.mark.parametrize('exponent', [0.4, 0.7])
def test_agrees_with_the_official_scoring(metas, exponent):
    head = make_head(conf_exponent=exponent)
    outputs = make_outputs(head)
    expected = official_detections(head, outputs, exponent)
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert len(result) == len(expected) == head.test_cfg.max_per_img
    scores, labels, boxes = zip(*expected, strict=True)
    np.testing.assert_allclose(result.scores, scores, rtol=0, atol=1e-6)
    assert result.labels.tolist() == list(labels)
    np.testing.assert_allclose(result.bboxes, boxes, rtol=0, atol=1e-3)


@BOTH_SELECTIONS
@pytest.mark.parametrize(
    ('config', 'options'),
    [(RETINA, {}), (ATSS, {}), (ATSS, dict(multiply_centerness=True))],
    ids=['retina', 'atss', 'atss times centerness'],
)
def test_scores_are_the_product_and_the_selection_is_by_one_score(
    metas, config, options, select_by
):
    head = make_head(config, conf_exponent=0.3, select_by=select_by, **options)
    outputs = make_outputs(head)
    cfg = head.test_cfg | dict(nms_pre=10_000, score_thr=0.2)
    result = head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=cfg, with_nms=False)[0]
    cls, deltas, *others = (
        torch.cat(flatten(maps, width))
        for maps, width in zip(outputs, (NUM_CLASSES, 4, 1, 1), strict=False)
    )
    joint = cls.sigmoid() ** 0.7 * others[-1].sigmoid() ** 0.3
    passing = (cls.sigmoid() if select_by == 'cls' else joint) > 0.2
    scores = joint * others[0].sigmoid() if options else joint
    boxes = decode(head, torch.cat(make_anchors(head)), deltas).clamp(0, IMAGE_SIZE)
    passing &= (boxes[:, 2:] > boxes[:, :2]).all(1, keepdim=True)  # min_bbox_size
    anchor, label = passing.nonzero(as_tuple=True)
    order, ours = scores[passing].argsort(descending=True), result.scores.argsort(descending=True)
    assert len(ours) == len(order) > 50
    torch.testing.assert_close(result.scores[ours].double(), scores[passing][order])
    assert torch.equal(result.labels[ours], label[order])
    torch.testing.assert_close(
        result.bboxes[ours].double(), boxes[anchor][order], rtol=0, atol=1e-3
    )


@BOTH_SELECTIONS
@BOTH
def test_exponent_zero_is_mmdets_head(features, metas, config, select_by):
    options = {} if config is RETINA else dict(multiply_centerness=True)
    head, _ = make_pair(config, conf_exponent=0, select_by=select_by, **options)
    torch.nn.init.normal_((head.retina_cls if config is RETINA else head.atss_cls).weight)
    mmdets = make_head(config, type='RetinaHead' if config is RETINA else 'ATSSHead')
    mmdets.load_state_dict(head.state_dict(), strict=False)
    ours = head.predict(features, samples_of(metas))
    for result, expected in zip(ours, mmdets.predict(features, samples_of(metas)), strict=True):
        assert len(result) == 20
        for name in ('bboxes', 'labels', 'scores'):
            torch.testing.assert_close(result[name], expected[name])


def test_folded_logits_reach_both_ends():
    logits = torch.tensor([-200.0, -50, 0, 50, 200])
    cls_logits, conf_logits = torch.meshgrid(logits, logits, indexing='ij')
    folded = joint_logits(cls_logits.reshape(-1, 1), conf_logits.reshape(-1), 0.4)
    expected = cls_logits.double().sigmoid() ** 0.6 * conf_logits.double().sigmoid() ** 0.4
    folded = folded.reshape(expected.shape)
    torch.testing.assert_close(folded.sigmoid(), expected.float(), rtol=1e-5, atol=1e-30)


@BOTH_SELECTIONS
def test_prediction_is_float32_under_autocast(features, metas, select_by):
    head = make_head(select_by=select_by)
    torch.nn.init.normal_(head.retina_cls.weight)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        outputs = head(features)
        results = head.predict(features, samples_of(metas))
    assert outputs[0][0].dtype == torch.bfloat16
    in_float32 = [[level.float() for level in levels] for levels in outputs]
    expected = head.predict_by_feat(*in_float32, batch_img_metas=metas)
    for result, exact in zip(results, expected, strict=True):
        assert result.scores.dtype == result.bboxes.dtype == torch.float32
        assert torch.equal(result.scores, exact.scores)
        assert torch.equal(result.bboxes, exact.bboxes)


@BOTH_SELECTIONS
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_bad_features_give_no_detection(features, metas, select_by, value):
    head = make_head(select_by=select_by, test_cfg={**RETINA['test_cfg'], 'score_thr': 0.0})
    features = [torch.full_like(feature, value) for feature in features]
    assert [len(result) for result in head.predict(features, samples_of(metas))] == [0, 0]


def test_exponent_can_be_set_on_a_built_head(metas):
    head = make_head()
    outputs = make_outputs(head)
    head.conf_exponent = 0.7
    expected = make_head(conf_exponent=0.7).predict_by_feat(*outputs, batch_img_metas=metas)[0]
    result = head.predict_by_feat(*outputs, batch_img_metas=metas)[0]
    assert torch.equal(result.scores, expected.scores)
    with pytest.raises(ValueError, match=r'conf_exponent must be .* got 1\.5'):
        head.conf_exponent = 1.5


def test_test_time_augmentation():
    config = Config.fromfile(config_path('retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'))
    config.model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    config.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    config.model.bbox_head.update(in_channels=8, feat_channels=8, num_classes=3)
    config.model.test_cfg.score_thr = 0.0
    detector = MODELS.build(ConfigDict(**config.tta_model, module=config.model)).eval()
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), img_id=0)
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    views = [(image, dict(meta, flip=False, flip_direction=None))]
    views += [(image.flip(-1), dict(meta, flip=True, flip_direction='horizontal'))]
    inputs = [view for view, _ in views]
    samples = [DetDataSample(metainfo=info) for _, info in views]
    batch = dict(inputs=[[view] for view in inputs], data_samples=[[each] for each in samples])
    (merged,) = detector.test_step(batch)
    plain = detector.module.test_step(dict(inputs=inputs, data_samples=samples))
    best = max(sample.pred_instances.scores.max() for sample in plain)
    torch.testing.assert_close(merged.pred_instances.scores[0], best)

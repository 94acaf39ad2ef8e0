"""ConfidenceATSSHead: the confidence beside, and in place of, ATSS's centerness."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

CHANNELS, NUM_CLASSES = 8, 3
LEVEL_SIZES = (16, 8, 4, 2, 1)
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
def outputs():
    """Maps of classes, boxes, centerness and confidence, as of a trained head."""
    torch.manual_seed(0)
    return tuple(
        [mean + std * torch.randn(2, width, size, size) for size in LEVEL_SIZES]
        for width, mean, std in ((NUM_CLASSES, -3, 2), (4, 0, 0.5), (1, 0, 2), (1, 0, 2))
    )


def flatten(maps, width):
    """Bring the maps of the first image into the order of its anchors, (K, width)."""
    return torch.cat([level[0].permute(1, 2, 0).reshape(-1, width) for level in maps])


def decode(anchors, deltas):
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


def test_branch_adds_one_convolution_to_atss_head(make_atss):
    ours, stock = make_atss().state_dict(), make_atss(type='ATSSHead').state_dict()
    added = {name: tensor.numel() for name, tensor in ours.items() if name not in stock}
    assert added == {'atss_conf.weight': CHANNELS * 9, 'atss_conf.bias': 1}
    assert stock.keys() < ours.keys()


@pytest.mark.parametrize(('source', 'tower'), [('cls', 'cls_convs'), ('reg', 'reg_convs')])
def test_confidence_comes_from_the_tower_that_is_asked_for(make_atss, features, source, tower):
    head = make_atss(feature_source=source)
    _, _, _, conf = head(features)
    expected = head.atss_conf(getattr(head, tower)[0](features[0]))
    torch.testing.assert_close(conf[0], expected)


def test_other_losses_and_outputs_are_those_of_atss_head(make_atss, features, truths, metas):
    head, stock = make_atss(), make_atss(type='ATSSHead')
    stock.load_state_dict(head.state_dict(), strict=False)
    ours, expected = head(features), stock(features)
    for maps, stock_maps in zip(ours[:3], expected, strict=True):
        assert all(map(torch.equal, maps, stock_maps))
    losses = head.loss_by_feat(*ours, truths, metas)
    stock_losses = stock.loss_by_feat(*expected, truths, metas)
    assert list(losses) == [*stock_losses, 'loss_conf']
    for name, values in stock_losses.items():
        torch.testing.assert_close(losses[name], values, rtol=0, atol=0)


def test_confidence_loss_is_the_plain_formula(make_atss, outputs, truths, metas):
    head = make_atss()
    sizes = [level.shape[-2:] for level in outputs[0]]
    anchors, flags = head.get_anchors(sizes, metas, device='cpu')
    _, labels, _, targets, _, num_positives = head.get_targets(anchors, flags, truths, metas)
    loss = head.loss_by_feat(*outputs, truths, metas)['loss_conf']
    total = 0.0
    for level, priors in enumerate(head.prior_generator.grid_priors(sizes, device='cpu')):
        for image in range(2):
            positive = labels[level][image] < NUM_CLASSES
            deltas = outputs[1][level][image].permute(1, 2, 0).reshape(-1, 4)
            confs = outputs[3][level][image].reshape(-1)[positive]
            overlap = iou(decode(priors, deltas)[positive], targets[level][image][positive])
            total += binary_cross_entropy_with_logits(confs, overlap, reduction='sum').item()
    assert total > 1
    assert loss.item() == pytest.approx(total / num_positives, rel=1e-5)


def test_confidence_learns_nothing_from_images_without_objects(make_atss, features, truths, metas):
    head = make_atss()
    nothing = [truth[:0] for truth in truths]
    losses = head.loss_by_feat(*head(features), nothing, metas)
    conf = losses.pop('loss_conf')
    assert conf == 0
    (conf + sum(map(sum, losses.values()))).backward()
    assert not head.atss_conf.weight.grad.any()


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
@pytest.mark.parametrize('multiply', [False, True])
def test_scores_are_the_product(make_atss, outputs, metas, select_by, multiply):
    head = make_atss(conf_exponent=0.3, select_by=select_by, multiply_centerness=multiply)
    cfg = head.test_cfg | dict(nms_pre=1000)
    result = head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=cfg, with_nms=False)[0]
    cls, deltas, centerness, conf = map(flatten, outputs, (NUM_CLASSES, 4, 1, 1))
    joint = cls.sigmoid() ** 0.7 * conf.sigmoid() ** 0.3
    passing = (cls.sigmoid() if select_by == 'cls' else joint) > head.test_cfg.score_thr
    scores = joint * centerness.sigmoid() if multiply else joint
    sizes = [level.shape[-2:] for level in outputs[0]]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    boxes = decode(anchors, deltas).clamp(0, 128)
    anchor, label = passing.nonzero(as_tuple=True)
    order, ours = scores[passing].argsort(descending=True), result.scores.argsort(descending=True)
    assert len(ours) == len(order) > 50
    torch.testing.assert_close(result.scores[ours], scores[passing][order])
    assert torch.equal(result.labels[ours], label[order])
    torch.testing.assert_close(result.bboxes[ours], boxes[anchor][order], rtol=0, atol=1e-3)


@pytest.mark.parametrize('select_by', ['joint', 'cls'])
def test_exponent_zero_with_centerness_is_atss_head(make_atss, outputs, metas, select_by):
    head = make_atss(conf_exponent=0, select_by=select_by, multiply_centerness=True)
    ours = head.predict_by_feat(*outputs, batch_img_metas=metas)
    stock = make_atss(type='ATSSHead').predict_by_feat(*outputs[:3], batch_img_metas=metas)
    for result, expected in zip(ours, stock, strict=True):
        assert torch.equal(result.labels, expected.labels)
        torch.testing.assert_close(result.bboxes, expected.bboxes)
        torch.testing.assert_close(result.scores, expected.scores)


def test_centerness_can_be_brought_back_on_a_built_head(make_atss, outputs, metas):
    head = make_atss()
    head.multiply_centerness = True
    expected = make_atss(multiply_centerness=True).predict_by_feat(*outputs, batch_img_metas=metas)
    for result, other in zip(
        head.predict_by_feat(*outputs, batch_img_metas=metas), expected, strict=True
    ):
        assert torch.equal(result.scores, other.scores)

"""ConfidenceRetinaHead: structure, losses and gradients."""

import math

import pytest
import torch
from mmdet.models import RetinaHead
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet.models import ConfidenceRetinaHead


def no_boxes():
    return InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))


def has_gradient(module):
    gradients = [parameter.grad for parameter in module.parameters()]
    return any(gradient is not None and gradient.any() for gradient in gradients)


def dense_loss_conf(head, outputs, truths, metas):
    """Restate the authors' formula: all anchors, weighted by 1 at positives and 0 elsewhere."""
    sizes = [level.shape[-2:] for level in outputs[0]]
    anchors, valid_flags = head.get_anchors(sizes, metas, device='cpu')
    targets = head.get_targets(anchors, valid_flags, truths, metas)
    losses = []
    for bbox_pred, conf, priors, bbox_target, weight in zip(
        *outputs[1:], anchors[0], targets[2], targets[3], strict=True
    ):
        priors = priors.repeat(len(metas), 1)
        boxes = head.bbox_coder.decode(priors, bbox_pred.permute(0, 2, 3, 1).reshape(-1, 4))
        truth_boxes = head.bbox_coder.decode(priors, bbox_target.reshape(-1, 4))
        top_left = torch.maximum(boxes[:, :2], truth_boxes[:, :2])
        bottom_right = torch.minimum(boxes[:, 2:], truth_boxes[:, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(1)
        areas = [(corners[:, 2:] - corners[:, :2]).prod(1) for corners in (boxes, truth_boxes)]
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
        stock = RetinaHead(80, 256).state_dict()
        ours = ConfidenceRetinaHead(80, 256).state_dict()
    added = {name: tensor.numel() for name, tensor in ours.items() if name not in stock}
    assert added == {'retina_conf.weight': 256 * 9 * 9, 'retina_conf.bias': 9}
    assert stock.keys() < ours.keys()


def test_untrained_confidence_is_one_half_and_its_loss_ln_2(make_head, features, truths, metas):
    head = make_head()
    head.init_weights()
    outputs = head(features)
    for conf in outputs[2]:
        torch.testing.assert_close(conf.sigmoid(), torch.full_like(conf, 0.5), atol=0.05, rtol=0)
    losses = head.loss_by_feat(*outputs, truths, metas)
    assert losses['loss_conf'].item() == pytest.approx(math.log(2), abs=0.02)


@pytest.mark.parametrize('sizes', [(128, 128), (128, 72)], ids=['equal sizes', 'unequal sizes'])
def test_loss_is_the_dense_formula(make_head, outputs, truths, metas, sizes):
    for meta, size in zip(metas, sizes, strict=True):
        meta.update(img_shape=(size, size), pad_shape=(size, size))
    head = make_head()
    losses = head.loss_by_feat(*outputs, truths, metas)
    expected = dense_loss_conf(head, outputs, truths, metas)
    assert expected > 0.1
    torch.testing.assert_close(losses['loss_conf'], expected)


def test_other_losses_are_those_of_retina_head(make_head, outputs, truths, metas):
    ours = make_head().loss_by_feat(*outputs, truths, metas)
    stock = make_head(type='RetinaHead').loss_by_feat(*outputs[:2], truths, metas)
    assert list(ours) == ['loss_cls', 'loss_bbox', 'loss_conf']
    for name, expected in stock.items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=0)


def test_loss_with_decoded_boxes_and_giou(make_head, outputs, truths, metas):
    encoded = make_head().loss_by_feat(*outputs, truths, metas)
    head = make_head(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss'))
    decoded = head.loss_by_feat(*outputs, truths, metas)
    torch.testing.assert_close(decoded['loss_conf'], encoded['loss_conf'])


def test_loss_conf_can_be_configured(make_head, outputs, truths, metas):
    once = make_head().loss_by_feat(*outputs, truths, metas)
    config = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0)
    twice = make_head(loss_conf=config).loss_by_feat(*outputs, truths, metas)
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
    make_head, features, truths, metas, feature_source, detach, learning
):
    head = make_head(feature_source=feature_source, detach_iou_target=detach)
    losses = head.loss_by_feat(*head(features), truths, metas)
    losses['loss_conf'].backward()
    assert {name for name, module in head.named_children() if has_gradient(module)} == learning


@pytest.mark.parametrize('confidence_logit', [2.0, -2.0])
def test_target_with_gradient_pulls_the_iou_to_the_confidence(
    make_head, outputs, truths, metas, confidence_logit
):
    cls_scores, bbox_preds, confs = outputs
    bbox_preds = [bbox_pred.requires_grad_() for bbox_pred in bbox_preds]
    confs = [torch.full_like(conf, confidence_logit) for conf in confs]
    head = make_head()

    def total_loss():
        return head.loss_by_feat(cls_scores, bbox_preds, confs, truths, metas)['loss_conf']

    # With one logit x for all anchors, the loss is constant - x * mean IoU. So a step that lowers
    # it raises the IoU if x is positive, and lowers it if x is negative.
    loss = total_loss()
    loss.backward()
    torch.optim.SGD(bbox_preds, lr=0.1).step()
    assert total_loss() < loss


@pytest.mark.parametrize('reg_decoded_bbox', [False, True])
def test_no_ground_truth_gives_zeros_with_a_graph(make_head, features, metas, reg_decoded_bbox):
    head = make_head(reg_decoded_bbox=reg_decoded_bbox)
    losses = head.loss_by_feat(*head(features), [no_boxes(), no_boxes()], metas)
    assert list(losses) == ['loss_cls', 'loss_bbox', 'loss_conf']
    assert losses['loss_conf'] == 0
    losses['loss_conf'].backward()
    assert not head.retina_conf.weight.grad.any()


def test_loss_is_float32_under_autocast(make_head, features, truths, metas):
    head = make_head()
    with torch.autocast('cpu', torch.bfloat16):
        outputs = head(features)
        losses = head.loss_by_feat(*outputs, truths, metas)
    assert outputs[2][0].dtype == torch.bfloat16
    assert losses['loss_conf'].dtype == torch.float32
    losses['loss_conf'].backward()
    assert head.retina_conf.weight.grad.isfinite().all()

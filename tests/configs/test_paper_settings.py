"""The settings that the papers state, or that the authors' code has where the papers do not."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn


def test_detnet_trains_with_the_papers_schedule(load_config):
    config = load_config('detnet/faster-rcnn_detnet59_fpn_2x_coco.py')
    warm_up, steps = config.param_scheduler
    assert config.train_cfg.max_epochs == 24
    assert list(steps.milestones) == [16, 22]
    assert (warm_up.start_factor, warm_up.end) == (pytest.approx(0.3, abs=0.04), 500)
    assert config.auto_scale_lr.base_batch_size == 16
    rpn = (config.model.train_cfg.rpn_proposal, config.model.test_cfg.rpn)
    assert [(cfg.nms_pre, cfg.max_per_img) for cfg in rpn] == [(12000, 2000), (6000, 1000)]


@pytest.mark.parametrize(
    ('name', 'lambdas', 'fusion'),
    [('double-head', (1, 1), 'none'), ('double-head-ext', (0.7, 0.8), 'complementary')],
)
def test_double_head_has_the_papers_weights(name, lambdas, fusion, load_config):
    config = load_config(f'double_head/{name}_r50_fpn_1x_coco.py')
    head = config.model.roi_head.bbox_head
    assert (head.loss_cls.loss_weight, head.loss_bbox.loss_weight) == (2.0, 2.5)
    assert (head.get('lambda_fc', 1), head.get('lambda_conv', 1)) == lambdas
    assert head.get('fusion', 'none') == fusion
    assert 1 + head.num_convs == 5  # residual blocks
    assert config.model.roi_head.reg_roi_scale_factor == 1.3


def test_double_head_of_the_authors_has_two_non_local_blocks(load_config):
    config = load_config('double_head/double-head-ext-nonlocal_r50-caffe_fpn_authors-1x_coco.py')
    head = config.model.roi_head.bbox_head
    assert (1 + head.num_convs, head.num_nonlocal) == (3, 2)
    assert config.model.train_cfg.rpn.allowed_border == 0
    layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    groups = build_optim_wrapper(layers, config.optim_wrapper).optimizer.param_groups
    weight, bias = (0.01, 0.0001), (0.02, 0)
    assert [(group['lr'], group['weight_decay']) for group in groups] == [weight, bias] * 2


@pytest.mark.parametrize('backbone', ['ipgnet50', 'ipgnet50-stage3', 'r50'])
def test_ipgnet_trains_with_the_papers_schedule(backbone, load_config):
    config = load_config(f'ipgnet/faster-rcnn_{backbone}_fpn_8xb4-1x_coco.py')
    _, steps = config.param_scheduler
    assert config.train_cfg.max_epochs == 12
    assert list(steps.milestones) == [7, 11]
    assert config.optim_wrapper.optimizer.lr == 0.01
    assert config.optim_wrapper.clip_grad.max_norm == 35
    assert config.auto_scale_lr.base_batch_size == 32


def test_retinanet_conf_differs_from_retinanet_in_its_head_alone(load_config):
    config = load_config('retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py')
    head = config.model.bbox_head
    assert head.type == 'mmdet_detnet.ConfidenceRetinaHead'
    assert 'conf_exponent' not in head or head.conf_exponent == 0.4
    assert config.model.backbone.type.split('.')[-1] == 'ResNet'
    assert config.optim_wrapper.optimizer.lr == 0.01

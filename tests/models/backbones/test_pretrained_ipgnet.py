"""Warm starts of IPG-Net: what comes from a ResNet, a DetNet or another IPG-Net."""

import logging

import pytest
import torch
from mmdet.models import ResNet

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet

WIDTH = 8


def weights_of(net_class, depth=50, **settings):
    """Make a state dict with weights that no initialization gives."""
    state = net_class(depth=depth, base_channels=WIDTH, **settings).state_dict()
    return {key: torch.full_like(value, 7) for key, value in state.items()}


def warm_start(tmp_path, state, net_class=IPGNet, depth=50, **settings):
    """Save the checkpoint, and build and initialize a network whose config names it."""
    path = tmp_path / 'checkpoint.pth'
    torch.save(state, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    net = net_class(depth=depth, base_channels=WIDTH, init_cfg=init_cfg, **settings)
    net.init_weights()
    return net


def not_loaded(net):
    """Name the parts of which nothing was loaded, and check that the others are whole."""
    parts = set()
    for key, value in net.state_dict().items():
        if not (value == 7).all():
            parts.add('.'.join(key.split('.')[: 2 if key.startswith('guidance') else 1]))
    for key, value in net.state_dict().items():
        assert key.startswith(tuple(f'{part}.' for part in parts)) != bool((value == 7).all()), key
    return parts


def report_of(log):
    return next(record for record in log.records if ': weights from' in record.message)


def torchvision_names(state):
    return {**state, 'fc.weight': torch.zeros(10, 32 * WIDTH), 'fc.bias': torch.zeros(10)}


def mmdet_names(state):
    return dict(meta={}, state_dict={f'backbone.{key}': value for key, value in state.items()})


@pytest.mark.parametrize('names', [torchvision_names, mmdet_names])
def test_resnet_fills_the_trunk_without_an_alarm(tmp_path, log, names):
    net = warm_start(tmp_path, names(weights_of(ResNet)), num_stages=5, out_indices=(4,))
    assert not_loaded(net) == {'guidance.layer2', 'guidance.layer3', 'guidance.layer4', 'layer5'}
    assert 'keep their initialization: guidance (90), layer5 (42)' in report_of(log).message
    assert not [record for record in log.records if record.levelno > logging.INFO]


def test_guidance_keeps_its_initialization(tmp_path):
    net = warm_start(tmp_path, weights_of(ResNet), zero_init_guidance=True)
    transformation = net.guidance['layer4'].transformation
    assert (transformation.scale == 0).all()
    # Kaiming's standard deviation for a 3x3 convolution to 64 channels.
    std = transformation.bottleneck[0].conv2.weight.std().item()
    assert std == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_all_of_an_own_checkpoint_is_loaded(tmp_path, log):
    settings = dict(fusion='concat', num_stages=7, keep_stride=True, out_indices=(6,))
    net = warm_start(tmp_path, weights_of(IPGNet, **settings), **settings)
    assert not_loaded(net) == set()
    assert report_of(log).levelno == logging.INFO


def test_more_stages_and_guidance_than_the_checkpoint_has_are_expected(tmp_path, log):
    state = weights_of(IPGNet, fused_stages=(3,))
    net = warm_start(tmp_path, state, num_stages=5, out_indices=(4,))
    assert not_loaded(net) == {'guidance.layer2', 'guidance.layer4', 'layer5'}
    assert report_of(log).levelno == logging.INFO


def test_guidance_that_the_network_lacks_is_a_warning(tmp_path, log):
    warm_start(tmp_path, weights_of(IPGNet), fused_stages=(3,))
    assert report_of(log).levelno == logging.WARNING
    assert 'UNEXPECTED in the file: guidance.layer2.' in report_of(log).message


def test_fusion_that_the_checkpoint_lacks_is_a_warning(tmp_path, log):
    warm_start(tmp_path, weights_of(IPGNet), fusion='sum', fusion_kernel=1)
    assert 'MISSING from the file: guidance.layer2.fusion.image_transform' in report_of(log).message


def test_detnet_fills_all_but_the_guidance(tmp_path, log):
    net = warm_start(tmp_path, weights_of(DetNet, depth=59), IPGDetNet, depth=59)
    assert not_loaded(net) == {'guidance.layer2', 'guidance.layer3', 'guidance.layer4'}
    assert report_of(log).levelno == logging.INFO


def test_resnet_fills_the_common_stages_of_a_guided_detnet(tmp_path, log):
    net = warm_start(tmp_path, weights_of(ResNet), IPGDetNet, depth=59, fused_stages=(3,))
    assert not_loaded(net) == {'guidance.layer3', 'layer4', 'layer5'}
    assert report_of(log).levelno == logging.INFO

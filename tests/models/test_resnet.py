"""Warm starts of DetNet and IPG-Net: what is loaded from which file, and what the log says."""

import logging

import pytest
import torch
from mmdet.models import ResNet
from mmengine.logging import MMLogger

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet, resnet
from mmdet_detnet.models.resnet import load_pretrained_backbone, split_pretrained


@pytest.fixture
def log(caplog):
    """Catch what mmengine's logger prints."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def report_of(log):
    return next(record for record in log.records if ': weights from' in record.message)


WIDTH = 8
NEW_LAYERS = ('layer4', 'layer5')
CONV1 = torch.zeros(WIDTH, 3, 7, 7)


def weights_of(net_class, depth=50, **settings):
    """Make a state dict with weights that no initialization gives."""
    state = net_class(depth=depth, base_channels=WIDTH, **settings).state_dict()
    return {key: torch.full_like(value, 7) for key, value in state.items()}


@pytest.fixture(scope='module')
def resnet_state():
    return weights_of(ResNet)


@pytest.fixture(scope='module')
def detnet_state():
    return weights_of(DetNet, depth=59)


def warm_start(tmp_path, content, net_class=DetNet, depth=59, **settings):
    """Save the checkpoint, and build and initialize a network whose config names it."""
    path = tmp_path / 'checkpoint.pth'
    torch.save(content, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    net = net_class(depth=depth, base_channels=WIDTH, init_cfg=init_cfg, **settings)
    net.init_weights()
    return net


def warm_start_ipgnet(tmp_path, state, net_class=IPGNet, depth=50, **settings):
    return warm_start(tmp_path, state, net_class, depth, **settings)


def torchvision_names(state):
    fc = {'fc.weight': torch.zeros(10, 32 * WIDTH), 'fc.bias': torch.zeros(10)}
    return {**state, **fc}


def mmdet_names(state):
    neck = {'neck.lateral_convs.0.conv.weight': torch.zeros(4, 32, 1, 1)}
    return dict(
        meta={}, state_dict={**{f'backbone.{key}': value for key, value in state.items()}, **neck}
    )


def mmpretrain_names(state):
    head = {'head.fc.weight': torch.zeros(10, 32 * WIDTH), 'head.fc.bias': torch.zeros(10)}
    return dict(state_dict={**{f'backbone.{key}': value for key, value in state.items()}, **head})


def distributed_names(state):
    return dict(state_dict={f'module.backbone.{key}': value for key, value in state.items()})


@pytest.mark.parametrize(
    'names', [torchvision_names, mmdet_names, mmpretrain_names, distributed_names]
)
def test_resnet_fills_the_first_stages_only(tmp_path, resnet_state, names):
    net = warm_start(tmp_path, names(resnet_state))
    for key, value in net.state_dict().items():
        loaded = bool((value == 7).all())
        assert loaded != key.startswith(NEW_LAYERS), key


def test_home_folder_is_resolved(tmp_path, resnet_state, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(resnet_state, tmp_path / 'resnet.pth')
    init_cfg = dict(type='Pretrained', checkpoint='~/resnet.pth')
    net = DetNet(depth=59, base_channels=WIDTH, init_cfg=init_cfg)
    net.init_weights()
    assert net.conv1.weight.eq(7).all()


def test_second_initialization_loads_nothing(tmp_path, resnet_state):
    net = warm_start(tmp_path, resnet_state)
    torch.nn.init.constant_(net.conv1.weight, 3)
    (tmp_path / 'checkpoint.pth').unlink()
    net.init_weights()
    assert net.conv1.weight.eq(3).all()


def test_new_stages_keep_the_default_initialization(tmp_path, resnet_state):
    net = warm_start(tmp_path, resnet_state)
    # Kaiming's standard deviation for a 1x1 convolution to 16 * WIDTH channels.
    std = net.layer5[0].downsample[0].weight.std().item()
    assert std == pytest.approx((2 / (16 * WIDTH)) ** 0.5, rel=0.05)
    assert (net.layer4[0].norm3.weight == 0).all()


def test_log_says_what_was_loaded_without_an_alarm(tmp_path, resnet_state, log):
    warm_start(tmp_path, torchvision_names(resnet_state))
    report = report_of(log)
    assert report.levelno == logging.INFO
    assert 'loaded: conv1 (1), bn1 (5), layer1 (60), layer2 (78), layer3 (114)' in report.message
    assert 'keep their initialization: layer4 (60), layer5 (60)' in report.message
    assert 'in the file but not used: layer4 (60), fc (2)' in report.message
    assert not [record for record in log.records if record.levelno > logging.INFO]


def test_all_of_a_detnet_checkpoint_is_loaded(tmp_path, detnet_state):
    net = warm_start(tmp_path, detnet_state)
    for key, value in net.state_dict().items():
        assert (value == 7).all(), key


def test_missing_and_unknown_weights_are_a_warning(tmp_path, detnet_state, log):
    state = {key: value for key, value in detnet_state.items() if key != 'layer2.1.conv2.weight'}
    warm_start(tmp_path, {**state, 'layer2.9.conv2.weight': torch.zeros(1)})
    report = report_of(log)
    assert report.levelno == logging.WARNING
    assert 'MISSING from the file: layer2.1.conv2.weight' in report.message
    assert 'UNEXPECTED in the file: layer2.9.conv2.weight' in report.message


def test_weights_of_another_shape_are_refused(tmp_path, resnet_state):
    with pytest.raises(ValueError, match=r'conv1.weight has shape \(8, 3, 7, 7\).*\(8, 1, 7, 7\)'):
        warm_start(tmp_path, resnet_state, in_channels=1)


def test_checkpoint_without_any_fitting_weight_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'no weight of this backbone.*decoder'):
        warm_start(tmp_path, {'decoder.weight': torch.zeros(1)})


def test_unconverted_detnet_pytorch_file_is_sent_to_the_converter(tmp_path, detnet_state):
    state = {k.replace('downsample', 'extra_conv'): v for k, v in detnet_state.items()}
    with pytest.raises(ValueError, match='convert_weights.py'):
        warm_start(tmp_path, state)


def test_missing_file_names_itself_and_the_way_out():
    init_cfg = dict(type='Pretrained', checkpoint='nowhere/weights.pth')
    net = DetNet(depth=59, base_channels=WIDTH, init_cfg=init_cfg)
    with pytest.raises(FileNotFoundError, match=r'nowhere/weights.pth.*torchvision://resnet50'):
        net.init_weights()


def test_two_checkpoints_are_refused():
    with pytest.raises(ValueError, match='one initializer'):
        split_pretrained([dict(type='Pretrained', checkpoint=name) for name in 'ab'])


def test_other_initializers_are_kept_next_to_the_checkpoint():
    kaiming = dict(type='Kaiming', layer='Conv2d')
    others, pretrained = split_pretrained([kaiming, dict(type='Pretrained', checkpoint='a.pth')])
    assert others == [kaiming]
    assert pretrained == dict(checkpoint='a.pth')


@pytest.fixture
def requested(monkeypatch):
    """Catch which checkpoint mmengine is asked for, where torchvision is not installed."""
    asked = []
    monkeypatch.setattr(resnet, 'find_spec', lambda name: None)
    monkeypatch.setattr(
        resnet.CheckpointLoader,
        'load_checkpoint',
        lambda checkpoint, *args, **kwargs: asked.append(checkpoint) or {'conv1.weight': CONV1},
    )
    return asked


def test_torchvision_name_is_resolved_without_torchvision(requested):
    net = DetNet(depth=59, base_channels=WIDTH)
    load_pretrained_backbone(net, 'torchvision://resnet50')
    assert requested == ['https://download.pytorch.org/models/resnet50-0676ba61.pth']


def test_unknown_torchvision_name_is_refused(requested):
    net = DetNet(depth=59, base_channels=WIDTH)
    with pytest.raises(ValueError, match='torchvision://resnet51'):
        load_pretrained_backbone(net, 'torchvision://resnet51')
    assert not requested


def not_loaded(net):
    """Name the parts of which nothing was loaded, and check that the others are whole."""
    parts = set()
    for key, value in net.state_dict().items():
        if not (value == 7).all():
            parts.add('.'.join(key.split('.')[: 2 if key.startswith('guidance') else 1]))
    for key, value in net.state_dict().items():
        assert key.startswith(tuple(f'{part}.' for part in parts)) != bool((value == 7).all()), key
    return parts


def test_resnet_fills_the_trunk_without_an_alarm(tmp_path, log, resnet_state):
    state = torchvision_names(resnet_state)
    net = warm_start_ipgnet(tmp_path, state, num_stages=5, out_indices=(4,))
    assert not_loaded(net) == {'guidance.layer2', 'guidance.layer3', 'guidance.layer4', 'layer5'}
    assert 'keep their initialization: guidance (90), layer5 (42)' in report_of(log).message
    assert not [record for record in log.records if record.levelno > logging.INFO]


def test_guidance_keeps_its_initialization(tmp_path, resnet_state):
    net = warm_start_ipgnet(tmp_path, resnet_state, zero_init_guidance=True)
    transformation = net.guidance['layer4'].transformation
    assert (transformation.scale == 0).all()
    # Kaiming's standard deviation for a 3x3 convolution to 64 channels.
    std = transformation.bottleneck[0].conv2.weight.std().item()
    assert std == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_more_stages_and_guidance_than_the_checkpoint_has_are_expected(tmp_path, log):
    state = weights_of(IPGNet, fused_stages=(3,))
    net = warm_start_ipgnet(tmp_path, state, num_stages=5, out_indices=(4,))
    assert not_loaded(net) == {'guidance.layer2', 'guidance.layer4', 'layer5'}
    assert report_of(log).levelno == logging.INFO


def test_fusion_that_the_checkpoint_lacks_is_a_warning(tmp_path, log):
    warm_start_ipgnet(tmp_path, weights_of(IPGNet), fusion='sum', fusion_kernel=1)
    assert 'MISSING from the file: guidance.layer2.fusion.image_transform' in report_of(log).message


def test_resnet_fills_the_common_stages_of_a_guided_detnet(tmp_path, log, resnet_state):
    net = warm_start_ipgnet(tmp_path, resnet_state, IPGDetNet, depth=59, fused_stages=(3,))
    assert not_loaded(net) == {'guidance.layer3', 'layer4', 'layer5'}
    assert report_of(log).levelno == logging.INFO

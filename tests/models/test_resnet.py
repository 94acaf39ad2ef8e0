"""What DetNet and IPG-Net share: freezing, recomputing activations, and warm starts."""

import logging

import pytest
import torch
from mmdet.models import ResNet
from mmengine.logging import MMLogger

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet
from mmdet_detnet.models.resnet import split_pretrained

WIDTH = 8


@pytest.mark.parametrize(('net_class', 'depth'), [(DetNet, 59), (IPGNet, 50)])
@pytest.mark.parametrize(('frozen_stages', 'norm_eval'), [(-1, True), (0, False), (3, True)])
def test_freezing_matches_resnet(net_class, depth, frozen_stages, norm_eval):
    settings = dict(base_channels=WIDTH, frozen_stages=frozen_stages, norm_eval=norm_eval)
    nets = ResNet(depth=50, **settings), net_class(depth=depth, **settings)
    [net.train() for net in nets]
    expected, actual = (
        {
            **{name: module.training for name, module in net.named_modules()},
            **{name: parameter.requires_grad for name, parameter in net.named_parameters()},
        }
        for net in nets
    )
    common = expected.keys() & actual.keys()
    assert len(common) > 200
    assert {name: actual[name] for name in common} == {name: expected[name] for name in common}


@pytest.mark.parametrize(
    ('net_class', 'settings'),
    [
        (DetNet, dict(depth=59)),
        (IPGNet, dict(depth=50, share_stem=True)),
        (IPGNet, dict(depth=50, fusion='concat', fused_stages=(1, 3), norm_eval=False)),
    ],
)
def test_recomputing_activations_changes_nothing(net_class, settings):
    # Double precision, because repeated single precision convolutions differ in the last bits.
    image = torch.rand(2, 3, 64, 96).double()
    results, runs = [], []
    for with_cp in (False, True):
        torch.manual_seed(1)
        net = net_class(base_channels=WIDTH, with_cp=with_cp, **settings).double().train()
        calls = []
        added = (
            [net.layer5[1].conv1]
            if net_class is DetNet
            else [guidance.transformation for guidance in net.guidance.values()]
        )
        for part in added:
            part.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        outputs = net(image)
        sum(output.mean() for output in outputs).backward()
        results.append([*outputs, *(parameter.grad for parameter in net.parameters())])
        runs.append(len(calls) / len(added))
    assert runs == [1, 2]
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.fixture
def log(caplog):
    """Catch what mmengine's logger prints."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def report_of(log, level=logging.INFO):
    """Return the report, whose level is the highest in the log."""
    (report,) = [record for record in log.records if ': weights from' in record.message]
    assert report.levelno == max(record.levelno for record in log.records) == level
    return report.message


def weights_of(net_class=ResNet, depth=50, **settings):
    """Make a state dict with weights that no initialization gives."""
    state = net_class(depth=depth, base_channels=WIDTH, **settings).state_dict()
    return {key: torch.full_like(value, 7) for key, value in state.items()}


def with_classifier(state):
    return {**state, 'fc.weight': torch.zeros(10, 32 * WIDTH), 'fc.bias': torch.zeros(10)}


def with_prefix(state, prefix='backbone.'):
    return {f'{prefix}{key}': value for key, value in state.items()}


@pytest.fixture
def warm_start(tmp_path):
    """Save the checkpoint, and build and initialize a network whose config names it."""

    def start(content, net_class=DetNet, depth=59, **settings):
        path = tmp_path / 'checkpoint.pth'
        torch.save(content, path)
        init_cfg = dict(type='Pretrained', checkpoint=str(path))
        net = net_class(depth=depth, base_channels=WIDTH, init_cfg=init_cfg, **settings)
        net.init_weights()
        return net

    return start


def not_loaded(net):
    """Name the parts of which nothing was loaded, and check that the others are whole."""
    parts = set()
    for key, value in net.state_dict().items():
        if not (value == 7).all():
            parts.add('.'.join(key.split('.')[: 2 if key.startswith('guidance') else 1]))
    for key, value in net.state_dict().items():
        assert key.startswith(tuple(f'{part}.' for part in parts)) != bool((value == 7).all()), key
    return parts


@pytest.mark.parametrize(
    'names',
    [
        with_classifier,  # torchvision
        lambda state: dict(  # mmdet
            meta={}, state_dict={**with_prefix(state), 'neck.conv.weight': torch.zeros(4)}
        ),
        lambda state: dict(state_dict=with_prefix(state, 'module.backbone.')),  # distributed
    ],
    ids=['torchvision', 'mmdet', 'distributed'],
)
def test_resnet_fills_the_first_stages_only(warm_start, names):
    net = warm_start(names(weights_of()))
    assert not_loaded(net) == {'layer4', 'layer5'}
    # Kaiming's standard deviation for a 1x1 convolution to 16 * WIDTH channels.
    std = net.layer5[0].downsample[0].weight.std().item()
    assert std == pytest.approx((2 / (16 * WIDTH)) ** 0.5, rel=0.05)
    assert (net.layer4[0].norm3.weight == 0).all()


def test_home_and_prefix_are_completed_and_a_second_initialization_loads_nothing(
    monkeypatch, tmp_path
):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(with_prefix(weights_of()), tmp_path / 'resnet.pth')
    init_cfg = dict(type='Pretrained', checkpoint='~/resnet.pth', prefix='backbone')
    net = DetNet(depth=59, base_channels=WIDTH, init_cfg=init_cfg)
    net.init_weights()
    assert net.conv1.weight.eq(7).all()
    torch.nn.init.constant_(net.conv1.weight, 3)
    net.init_weights()
    assert net.conv1.weight.eq(3).all()


def test_log_says_what_was_loaded_without_an_alarm(warm_start, log):
    warm_start(with_classifier(weights_of()))
    report = report_of(log)
    assert 'loaded: conv1 (1), bn1 (5), layer1 (60), layer2 (78), layer3 (114)' in report
    assert 'keep their initialization: layer4 (60), layer5 (60)' in report
    assert 'in the file but not used: layer4 (60), fc (2)' in report


def test_all_of_a_detnet_checkpoint_is_loaded(warm_start):
    assert not_loaded(warm_start(weights_of(DetNet, 59))) == set()


def test_missing_and_unknown_weights_are_a_warning(warm_start, log):
    state = weights_of(DetNet, 59)
    del state['layer2.1.conv2.weight'], state['layer2.1.bn2.num_batches_tracked']
    warm_start({**state, 'layer2.9.conv2.weight': torch.zeros(1)})
    report = report_of(log, logging.WARNING)
    assert 'MISSING from the file: layer2.1.conv2.weight\n' in report
    assert 'UNEXPECTED in the file: layer2.9.conv2.weight' in report


@pytest.mark.parametrize(
    ('change', 'settings', 'message'),
    [
        (dict, dict(in_channels=1), r'conv1.weight has shape \(8, 3, 7, 7\).*\(8, 1, 7, 7\)'),
        (lambda state: {'decoder.weight': torch.zeros(1)}, {}, 'no weight of this .*decoder'),
        (
            lambda state: {k.replace('downsample', 'extra_conv'): v for k, v in state.items()},
            {},
            'convert_weights.py',
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(warm_start, change, settings, message):
    with pytest.raises(ValueError, match=message):
        warm_start(change(weights_of()), **settings)


def test_missing_file_names_itself_and_the_way_out():
    init_cfg = dict(type='Pretrained', checkpoint='nowhere/weights.pth')
    net = DetNet(depth=59, base_channels=WIDTH, init_cfg=init_cfg)
    with pytest.raises(FileNotFoundError, match=r'nowhere/weights.pth.*torchvision://resnet50'):
        net.init_weights()


def test_other_initializers_are_kept_next_to_one_checkpoint():
    kaiming = dict(type='Kaiming', layer='Conv2d')
    pretrained = [dict(type='Pretrained', checkpoint=name) for name in 'ab']
    assert split_pretrained([kaiming, pretrained[0]]) == ([kaiming], dict(checkpoint='a'))
    with pytest.raises(ValueError, match='one initializer'):
        split_pretrained(pretrained)


FIVE_STAGES = dict(num_stages=5, out_indices=(4,))


@pytest.mark.parametrize(
    ('state', 'settings', 'parts'),
    [
        (
            weights_of,
            FIVE_STAGES,
            {'guidance.layer2', 'guidance.layer3', 'guidance.layer4', 'layer5'},
        ),
        (
            lambda: weights_of(IPGNet, fused_stages=(3,)),
            FIVE_STAGES,
            {'guidance.layer2', 'guidance.layer4', 'layer5'},
        ),
        (
            weights_of,
            dict(net_class=IPGDetNet, depth=59, fused_stages=(3,)),
            {'guidance.layer3', 'layer4', 'layer5'},
        ),
    ],
)
def test_parts_that_the_checkpoint_of_an_ipgnet_lacks_are_expected(
    warm_start, log, state, settings, parts
):
    net = warm_start(state(), **{'net_class': IPGNet, 'depth': 50, **settings})
    assert not_loaded(net) == parts
    report_of(log)


def test_guidance_keeps_its_initialization(warm_start):
    net = warm_start(weights_of(), IPGNet, 50, zero_init_guidance=True)
    transformation = net.guidance['layer4'].transformation
    assert (transformation.scale == 0).all()
    # Kaiming's standard deviation for a 3x3 convolution to 64 channels.
    std = transformation.bottleneck[0].conv2.weight.std().item()
    assert std == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_fusion_that_the_checkpoint_lacks_is_a_warning(warm_start, log):
    warm_start(weights_of(IPGNet), IPGNet, 50, fusion='sum', fusion_kernel=1)
    expected = 'MISSING from the file: guidance.layer2.fusion.image_transform'
    assert expected in report_of(log, logging.WARNING)

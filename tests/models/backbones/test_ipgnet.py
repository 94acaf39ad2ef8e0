"""IPG-Net's features, gradients and initialization against mmdet's ResNet and plain torch."""

import pytest
import torch
from mmdet.models import ResNet, ResNeXt
from torch import nn
from torch.nn import functional as F

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet, IPGResNeXt

SLIM = dict(depth=50, base_channels=8)
FUSIONS = ('add', 'sum', 'product', 'concat')


def double_image(height=67, width=101):
    # Double precision, because repeated single precision convolutions differ in the last bits.
    return torch.rand(2, 3, height, width, dtype=torch.double)


def assert_same_outputs(expected, actual):
    for expected_output, actual_output in zip(expected, actual, strict=True):
        assert torch.equal(expected_output, actual_output)


def test_image_is_shrunk_bilinearly_by_default():
    net = IPGNet(**SLIM, fused_stages=(3,)).double().eval()
    levels = []
    net.guidance['layer3'].transformation.register_forward_pre_hook(
        lambda module, inputs: levels.append(inputs[0])
    )
    image = double_image(64, 96)
    net(image)
    expected = F.interpolate(image, size=(16, 24), mode='bilinear', align_corners=False)
    assert torch.equal(*levels, expected)


def test_without_fusion_it_is_resnet_bit_for_bit():
    resnet, net = ResNet(**SLIM).double(), IPGNet(**SLIM, fused_stages=()).double()
    net.load_state_dict(resnet.state_dict(), strict=True)
    image = double_image()
    assert_same_outputs(resnet(image), net(image))


def test_zero_initialized_guidance_starts_as_resnet_bit_for_bit():
    resnet, net = ResNet(**SLIM).double(), IPGNet(**SLIM, zero_init_guidance=True).double()
    net.init_weights()
    missing, unexpected = net.load_state_dict(resnet.state_dict(), strict=False)
    assert all(key.startswith('guidance.') for key in missing)
    assert not unexpected
    image = double_image()
    assert_same_outputs(resnet(image), net(image))


@pytest.mark.parametrize('interpolation', ['bilinear', 'nearest'])
def test_fused_features_feed_the_next_stage_and_are_returned(interpolation):
    net = IPGNet(**SLIM, interpolation=interpolation).double().eval()
    image = double_image()
    x = net.maxpool(net.relu(net.norm1(net.conv1(image))))
    expected = [net.layer1(x)]
    for name, size in (('layer2', (34, 51)), ('layer3', (17, 26)), ('layer4', (9, 13))):
        level = F.interpolate(image, size, mode=interpolation)
        guidance = net.guidance[name].transformation(level)
        expected.append(getattr(net, name)(expected[-1]) + guidance)
    for expected_output, output in zip(expected, net(image), strict=True):
        torch.testing.assert_close(output, expected_output)


def test_shared_stem_is_the_trunks():
    net = IPGNet(**SLIM, share_stem=True, fused_stages=(2,)).double().eval()
    image = double_image(64, 64)
    level = F.interpolate(image, (32, 32), mode='bilinear')
    stem = net.maxpool(net.relu(net.norm1(net.conv1(level))))
    plain = net.layer2(net(image)[0])
    expected = plain + net.guidance['layer2'].transformation.bottleneck(stem)
    torch.testing.assert_close(net(image)[1], expected)


def test_modules_do_not_share_storage():
    net = IPGNet(**SLIM, fused_stages=(1, 2, 3, 4), fusion='sum', fusion_kernel=1)
    storages = [tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()]
    assert len(set(storages)) == len(storages)


@pytest.mark.parametrize(
    'settings',
    [{}, dict(share_stem=True), dict(fusion='concat', fused_stages=(1, 3), norm_eval=False)],
)
def test_recomputing_activations_changes_nothing(settings):
    image = double_image()
    results = []
    for with_cp in (False, True):
        torch.manual_seed(1)
        net = IPGNet(**SLIM, with_cp=with_cp, **settings).double().train()
        outputs = net(image)
        sum(output.mean() for output in outputs).backward()
        results.append([*outputs, *(parameter.grad for parameter in net.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize(('with_cp', 'runs'), [(False, 1), (True, 2)])
def test_activations_of_the_guidance_are_recomputed_on_demand(with_cp, runs):
    net = IPGNet(**SLIM, with_cp=with_cp).train()
    calls = []
    for guidance in net.guidance.values():
        guidance.transformation.register_forward_pre_hook(lambda *call: calls.append(call))
    sum(output.mean() for output in net(torch.rand(1, 3, 64, 64))).backward()
    assert len(calls) == runs * len(net.guidance)


@pytest.mark.parametrize(
    'settings',
    [{}, dict(fusion='product', zero_init_guidance=False), dict(zero_init_guidance=True)],
)
def test_symbolic_trace_keeps_the_outputs(settings):
    net = IPGNet(**SLIM, **settings).double().eval()
    traced = torch.fx.symbolic_trace(net)
    # The trace must compute the sizes, not remember them.
    for image in (double_image(64, 96), double_image(33, 51)):
        assert_same_outputs(net(image), traced(image))


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3])
@pytest.mark.parametrize('norm_eval', [True, False])
def test_freezing_the_trunk_matches_resnet(frozen_stages, norm_eval):
    settings = dict(**SLIM, frozen_stages=frozen_stages, norm_eval=norm_eval)
    resnet, net = ResNet(**settings), IPGNet(**settings)
    resnet.train(), net.train()
    training = {name: module.training for name, module in net.named_modules()}
    for name, module in resnet.named_modules():
        assert training[name] == module.training, name
    trained = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    for name, parameter in resnet.named_parameters():
        assert trained[name] == parameter.requires_grad, name


def test_guidance_of_frozen_stages_is_trained():
    net = IPGNet(**SLIM, frozen_stages=5, num_stages=5, out_indices=(4,))
    net.train()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {f'guidance.{name}' for name, _ in net.guidance.named_parameters()}


@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval_holds_for_the_guidance(norm_eval):
    net = IPGNet(**SLIM, norm_eval=norm_eval, fusion='sum', fusion_kernel=1)
    assert net.train() is net
    norms = [module for module in net.guidance.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training != norm_eval for norm in norms)


@pytest.mark.parametrize(
    ('norm_cfg', 'norm_class'),
    [(dict(type='SyncBN'), nn.SyncBatchNorm), (dict(type='GN', num_groups=4), nn.GroupNorm)],
)
def test_norm_cfg_reaches_every_layer(norm_cfg, norm_class):
    net = IPGNet(**SLIM, norm_cfg=norm_cfg, fusion='sum', num_stages=5, out_indices=(4,))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    for guidance in net.guidance.values():
        # Stem, three convolutions and the shortcut of the bottleneck, three of the fusion.
        assert sum(isinstance(module, norm_class) for module in guidance.modules()) == 8


def test_guidance_starts_as_resnets_blocks_do():
    net = IPGNet(**SLIM, num_stages=5, out_indices=(4,))
    net.init_weights()
    bottleneck = net.guidance['layer4'].transformation.bottleneck[0]
    for block in (bottleneck, *net.layer5):
        assert (block.norm3.weight == 0).all()
        # Kaiming's standard deviation for a 3x3 convolution to 64 channels.
        assert block.conv2.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_resnext_trunk_equals_mmdets():
    settings = dict(**SLIM, groups=4, base_width=4)
    resnext = ResNeXt(**settings).double()
    net = IPGResNeXt(**settings, zero_init_guidance=True, num_stages=5, out_indices=(0, 1, 2, 3, 4))
    net.load_state_dict(resnext.state_dict(), strict=False)
    image = double_image()
    assert_same_outputs(resnext(image), net.double()(image)[:4])
    assert net.layer5[0].conv2.groups == 4


@pytest.mark.parametrize('stages', [(2, 3, 4), (3,)])
def test_guided_detnet_starts_as_detnet_bit_for_bit(stages):
    settings = dict(depth=59, base_channels=8)
    detnet = DetNet(**settings).double()
    net = IPGDetNet(**settings, zero_init_guidance=True, fused_stages=stages)
    net.load_state_dict(detnet.state_dict(), strict=False)
    image = double_image()
    assert_same_outputs(detnet(image), net.double()(image))


@pytest.mark.cuda
@pytest.mark.parametrize('fusion', FUSIONS)
def test_autocast_on_cuda_gives_finite_features(fusion):
    net = IPGNet(**SLIM, fusion=fusion).cuda()
    with torch.autocast('cuda', dtype=torch.float16):
        outputs = net(torch.rand(2, 3, 64, 64, device='cuda'))
    assert all(torch.isfinite(output).all() for output in outputs)

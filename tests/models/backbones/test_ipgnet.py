"""IPG-Net against mmdet's ResNet, the paper's geometry and counts worked by hand."""

import pytest
import torch
from helpers import count_parameters
from mmdet.models import ResNet, ResNeXt
from mmdet.registry import MODELS
from torch import nn
from torch.nn import functional as F

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet, IPGResNeXt

SLIM = dict(depth=50, base_channels=8)
FUSIONS = ('add', 'sum', 'product', 'concat')
RESNET50_PARAMETERS = 23_508_032


def count_macs(net, images):
    """Count the multiply-adds of all convolutions for one image, by hooks."""
    macs = 0

    def add(conv, inputs, output):
        nonlocal macs
        macs += output[0].numel() * conv.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    net(images)
    return macs


def on_meta(net_class=IPGNet, **settings):
    """Build a network of full width without memory or time."""
    with torch.device('meta'):
        return net_class(**{'depth': 50, **settings})


def double_image(height=67, width=101):
    # Double precision, because repeated single precision convolutions differ in the last bits.
    return torch.rand(2, 3, height, width, dtype=torch.double)


def assert_same_outputs(expected, actual):
    for expected_output, actual_output in zip(expected, actual, strict=True):
        assert torch.equal(expected_output, actual_output)


def fused_shapes(net, height, width):
    """Run the network on nothing; return the shapes of both inputs of each fusion."""
    shapes = []
    for guidance in net.guidance.values():
        guidance.fusion.register_forward_hook(
            lambda _, inputs, __: shapes.append([tuple(x.shape) for x in inputs])
        )
    net(torch.empty(2, 3, height, width, device='meta'))
    return shapes


@pytest.mark.parametrize('name', ['IPGNet', 'IPGResNeXt', 'IPGDetNet'])
def test_registry_builds_it_by_its_prefixed_name(name):
    settings = dict(depth=59 if name == 'IPGDetNet' else 50, base_channels=8)
    assert type(MODELS.build(dict(type=f'mmdet_detnet.{name}', **settings))).__name__ == name


@pytest.mark.parametrize(
    ('settings', 'counts'),
    [
        ({}, [266_048, 948_544, 3_591_488]),
        (dict(share_stem=True), [256_512, 939_008, 3_581_952]),
        (dict(guidance_stem_channels=256), [417_536, 1_222_912, 4_111_616]),
        (dict(fused_stages=(3,)), [948_544]),
        (dict(fused_stages=(3,), share_stem=True), [939_008]),
        (dict(fusion='sum', fused_stages=(2,)), [266_048 + 7_080_960]),
        (dict(fusion='product', fused_stages=(3,)), [948_544 + 18_880_512]),
        (dict(fusion='concat', fused_stages=(4,)), [3_591_488 + 83_898_368]),
        # A scale for each of 1024 channels.
        (dict(fused_stages=(3,), zero_init_guidance=True), [948_544 + 1024]),
        # Stem 9,536; convolutions 64*64 + 9*64*64 + 64*256 + 64*256; norms 2*(64+64+256+256).
        (dict(fused_stages=(1,)), [84_544]),
    ],
)
def test_parameter_counts_of_the_guidance(settings, counts):
    net = on_meta(**settings)
    assert [count_parameters(module) for module in net.guidance.values()] == counts
    assert count_parameters(net) == RESNET50_PARAMETERS + sum(counts)


@pytest.mark.parametrize(
    ('fusion', 'gmacs'), [('add', 0), ('sum', 357), ('product', 238), ('concat', 264)]
)
def test_multiply_adds_at_800_by_1344(fusion, gmacs):
    image = torch.empty(2, 3, 800, 1344, device='meta')
    transformations = 12.8
    trunk, guided = (
        count_macs(on_meta(**settings), image)
        for settings in (dict(fused_stages=()), dict(fusion=fusion))
    )
    assert trunk / 1e9 == pytest.approx(87.6, abs=0.05)
    assert (guided - trunk) / 1e9 == pytest.approx(transformations + gmacs, abs=0.5)


def test_extra_stage_has_two_bottlenecks_of_stage_4s_width():
    strided, kept = (
        on_meta(num_stages=5, out_indices=(4,)),
        on_meta(num_stages=5, keep_stride=True, out_indices=(4,)),
    )
    # 1x1 to 512, 3x3, 1x1 to 2048, and three norms.
    block = 2048 * 512 + 9 * 512 * 512 + 512 * 2048 + 2 * (512 + 512 + 2048)
    projection = 2048 * 2048 + 2 * 2048
    assert count_parameters(strided.layer5) == 2 * block + projection
    assert count_parameters(kept.layer5) == 2 * block


@pytest.mark.parametrize(
    ('settings', 'strides'),
    [
        (dict(num_stages=4), [4, 8, 16, 32]),
        (dict(num_stages=5), [4, 8, 16, 32, 64]),
        (dict(num_stages=6), [4, 8, 16, 32, 64, 128]),
        (dict(num_stages=7), [4, 8, 16, 32, 64, 128, 128]),
        (dict(num_stages=7, keep_stride=True), [4, 8, 16, 32, 32, 32, 32]),
    ],
)
def test_strides_and_channels(settings, strides):
    net = on_meta(**settings, out_indices=range(settings['num_stages']))
    outputs = net(torch.empty(1, 3, 1024, 1024, device='meta'))
    assert [1024 // output.shape[2] for output in outputs] == strides
    assert [output.shape[1] for output in outputs] == [256, 512, 1024] + [2048] * (len(strides) - 3)
    assert list(net.guidance) == ['layer2', 'layer3', 'layer4']


@pytest.mark.parametrize(('keep_stride', 'dilations'), [(False, [1, 1, 2]), (True, [2, 2, 2])])
def test_dilations_of_the_extra_stages(keep_stride, dilations):
    net = on_meta(num_stages=7, keep_stride=keep_stride, out_indices=(6,))
    for name, dilation in zip(('layer5', 'layer6', 'layer7'), dilations, strict=True):
        assert [block.conv2.dilation for block in getattr(net, name)] == [(dilation,) * 2] * 2


def windows(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def quarter(size):
    """Size after the 7x7 convolution and the max pool of a stem."""
    return windows(windows(size, 7, 2, 3), 3, 2, 1)


def test_sizes_agree_for_every_size_by_formula():
    for size in range(1, 2500):
        stage_size = quarter(size)
        for shrink_factor in (2, 4, 8):
            stage_size = windows(stage_size, 3, 2, 1)
            level_size = -(-size // shrink_factor)
            assert quarter(level_size) == stage_size, (size, shrink_factor)


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_sizes_agree_in_the_network(style):
    net = on_meta(base_channels=8, style=style, fused_stages=(1, 2, 3, 4))
    for height in (1, 2, 3, 4, 5, 9, 16, 17, 31, 33, 65, 601, 800):
        width = 3 * height + 1
        for stride, (image_shape, stage_shape) in zip(
            (4, 8, 16, 32), fused_shapes(net, height, width)[-4:], strict=True
        ):
            assert image_shape == stage_shape
            assert stage_shape[2:] == (-(-height // stride), -(-width // stride))


@pytest.mark.parametrize(
    'settings',
    [
        dict(deep_stem=True, avg_down=True, share_stem=True),
        dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
        dict(stem_channels=4, guidance_stem_channels=6),
    ],
)
def test_sizes_agree_for_other_trunks(settings):
    net = on_meta(base_channels=8, **settings)
    for image_shape, stage_shape in fused_shapes(net, 203, 331):
        assert image_shape == stage_shape


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


def test_zero_initialized_guidance_learns():
    net = IPGNet(**SLIM, zero_init_guidance=True, fused_stages=(3,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    image = torch.rand(2, 3, 64, 64)
    for _ in range(2):
        optimizer.zero_grad()
        sum(output.square().mean() for output in net(image)).backward()
        optimizer.step()
    for name, parameter in net.guidance.named_parameters():
        assert parameter.grad.count_nonzero() > 0, name


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
    tensors = list(net.state_dict().values())
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)


def test_shared_stem_leaves_no_stem_in_the_guidance():
    net = IPGNet(**SLIM, share_stem=True)
    assert not [name for name in net.state_dict() if name.startswith('guidance') and 'stem' in name]


@pytest.mark.parametrize('fusion', FUSIONS)
@pytest.mark.parametrize('share_stem', [False, True])
def test_every_parameter_gets_a_finite_gradient(fusion, share_stem):
    net = IPGNet(
        **SLIM,
        fusion=fusion,
        share_stem=share_stem,
        fused_stages=(1, 2, 3, 4),
        num_stages=5,
        out_indices=(0, 1, 2, 3, 4),
    )
    sum(output.square().mean() for output in net(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.count_nonzero() > 0 or name.endswith('bias'), name


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
def test_norm_layers_are_of_the_wanted_kind_everywhere(norm_cfg, norm_class):
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


def test_guided_detnet_gives_equal_levels_to_stages_of_equal_stride():
    net = on_meta(IPGDetNet, depth=59)
    assert [guidance.shrink_factor for guidance in net.guidance.values()] == [2, 4, 4]
    for image_shape, stage_shape in fused_shapes(net, 203, 331):
        assert image_shape == stage_shape
    assert [count_parameters(net.guidance[name]) for name in ('layer2', 'layer3')] == [
        266_048,
        948_544,
    ]


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('depth', 18),
        ('num_stages', 3),
        ('num_stages', 8),
        ('keep_stride', True),
        ('out_indices', (0, 4)),
        ('out_indices', ()),
        ('frozen_stages', 5),
        ('base_channels', 0),
        ('style', 'tensorflow'),
        ('stage_with_dcn', (True,) * 5),
        ('fused_stages', (0, 1)),
        ('fused_stages', (5,)),
        ('fused_stages', (3, 2)),
        ('fused_stages', (2, 2)),
        ('fused_stages', 3),
        ('guidance_stem_channels', 0),
        ('fusion', 'multiply'),
        ('fusion_kernel', 5),
        ('interpolation', 'bicubic'),
    ],
)
def test_wrong_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f'IPGNet: {argument} must be .*, got ') as error:
        IPGNet(**{**SLIM, argument: value})
    assert repr(value) in str(error.value)


def test_plugins_have_a_flag_for_each_of_resnets_stages():
    with pytest.raises(ValueError, match="IPGNet: plugins' stages must be 4 flags"):
        IPGNet(**SLIM, plugins=[dict(cfg=dict(type='ContextBlock'), stages=(True,) * 5)])


@pytest.mark.parametrize(
    ('argument', 'settings'),
    [
        ('guidance_stem_channels', dict(share_stem=True, guidance_stem_channels=64)),
        ('zero_init_guidance', dict(zero_init_guidance=True, fusion='sum')),
        ('out_indices', dict(num_stages=5, out_indices=(0, 1, 2, 3))),
    ],
)
def test_arguments_that_contradict_each_other_are_named(argument, settings):
    with pytest.raises(ValueError, match=f'IPGNet: {argument} must be'):
        IPGNet(**SLIM, **settings)


@pytest.mark.cuda
@pytest.mark.parametrize('fusion', FUSIONS)
def test_autocast_on_cuda_gives_finite_features(fusion):
    net = IPGNet(**SLIM, fusion=fusion).cuda()
    with torch.autocast('cuda', dtype=torch.float16):
        outputs = net(torch.rand(2, 3, 64, 64, device='cuda'))
    assert all(torch.isfinite(output).all() for output in outputs)

"""IPG-Net: its parts against the equations, its features against ResNet, its sizes by hand."""

import pytest
import torch
from helpers import count_macs, count_parameters
from mmdet.models import ResNet, ResNeXt
from torch import nn
from torch.nn import functional as F

from mmdet_detnet.models import DetNet, IPGDetNet, IPGNet, IPGResNeXt
from mmdet_detnet.models.ipgnet import (
    GUIDANCE_FUSIONS,
    ImagePyramidTransformation,
    ProductFusion,
    StageGuidance,
    shrink_image,
)

CHANNELS = 8


def randomized(module):
    """Put numbers into all weights and statistics that no mistake in their use would survive."""
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if 'var' in name else torch.randn_like(value))
    return module


def normalize(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def linear(x, transform):
    """Restate one W: a convolution that keeps the size, then batch norm."""
    weight = transform.conv.weight
    return normalize(F.conv2d(x, weight, padding=weight.shape[-1] // 2), transform.bn)


def test_levels_come_directly_from_the_image():
    image = torch.rand(1, 3, 8, 12, dtype=torch.double)
    # A quarter: the mean of the four pixels in the middle of each 4x4 block, not of all 16.
    quarter = F.avg_pool2d(F.pad(image, (-1, -1, -1, -1)), 2, stride=4)
    torch.testing.assert_close(shrink_image(image, 2), F.avg_pool2d(image, 2))
    torch.testing.assert_close(shrink_image(image, 4), quarter)
    assert torch.equal(shrink_image(image, 4, 'nearest'), image[..., ::4, ::4])


def test_transformation_is_a_resnet_stem_and_one_bottleneck():
    module = randomized(ImagePyramidTransformation(planes=4, stem_channels=6))
    image = torch.randn(2, 3, 21, 34, dtype=torch.double)
    stem, block = module.stem[0], module.bottleneck[0]
    x = F.relu(normalize(F.conv2d(image, stem.conv.weight, stride=2, padding=3), stem.bn))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    main = F.relu(normalize(F.conv2d(x, block.conv1.weight), block.bn1))
    main = F.relu(normalize(F.conv2d(main, block.conv2.weight, padding=1), block.bn2))
    main = normalize(F.conv2d(main, block.conv3.weight), block.bn3)
    shortcut = normalize(F.conv2d(x, block.downsample[0].weight), block.downsample[1])
    torch.testing.assert_close(module(image), F.relu(main + shortcut))


@pytest.mark.parametrize('kernel_size', [1, 3])
@pytest.mark.parametrize('with_relu', [False, True])
@pytest.mark.parametrize('name', ['sum', 'product', 'concat'])
def test_fusions_are_equations_2_to_4(name, with_relu, kernel_size):
    fusion = randomized(GUIDANCE_FUSIONS[name](CHANNELS, kernel_size, with_relu))
    image_features, features = torch.randn(2, 2, CHANNELS, 5, 7, dtype=torch.double)

    def transform(x, layer):
        return F.relu(linear(x, layer)) if with_relu else linear(x, layer)

    first = transform(image_features, fusion.image_transform)
    second = transform(features, fusion.stage_transform)
    if name == 'sum':
        expected = transform(first + second, fusion.out_transform)
    elif name == 'concat':
        assert fusion.out_transform.conv.kernel_size == (1, 1)
        expected = transform(torch.cat([first, second], 1), fusion.out_transform)
    else:
        x, norm = first * second + features, fusion.layer_norm
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        gain, shift = norm.weight.view(-1, 1, 1), norm.bias.view(-1, 1, 1)
        expected = (x - mean) / (variance + 1e-5).sqrt() * gain + shift
    torch.testing.assert_close(fusion(image_features, features), expected)


def test_image_features_come_first_in_the_fusion():
    transformation = randomized(ImagePyramidTransformation(planes=2, stem_channels=4))
    fusion = randomized(ProductFusion(CHANNELS))
    image, features = (
        torch.randn(1, n, *size).double() for n, size in ((3, (64, 64)), (8, (8, 8)))
    )
    level = shrink_image(image, 2)
    actual = StageGuidance(2, transformation, fusion)(image, features)
    assert torch.equal(actual, fusion(transformation(level), features))
    assert not torch.allclose(actual, fusion(features, transformation(level)))


SLIM = dict(depth=50, base_channels=8)
FUSIONS = ('add', 'sum', 'product', 'concat')


def double_image(height=67, width=101):
    # Double precision, because repeated single precision convolutions differ in the last bits.
    return torch.rand(2, 3, height, width, dtype=torch.double)


@pytest.mark.parametrize(
    ('trunk', 'net_class', 'settings', 'guidance'),
    [
        (ResNet, IPGNet, SLIM, dict(fused_stages=())),
        (ResNet, IPGNet, SLIM, dict(zero_init_guidance=True)),
        (ResNeXt, IPGResNeXt, dict(**SLIM, groups=4, base_width=4), dict(zero_init_guidance=True)),
        (DetNet, IPGDetNet, dict(depth=59, base_channels=8), dict(zero_init_guidance=True)),
    ],
)
def test_without_guidance_it_is_the_trunk_bit_for_bit(trunk, net_class, settings, guidance):
    trunk, net = trunk(**settings).double(), net_class(**settings, **guidance).double()
    net.init_weights()
    missing, unexpected = net.load_state_dict(trunk.state_dict(), strict=False)
    assert all(key.startswith('guidance.') for key in missing)
    assert not unexpected
    image = double_image()
    for expected, actual in zip(trunk(image), net(image), strict=True):
        assert torch.equal(expected, actual)


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


RESNET50_PARAMETERS = 23_508_032


def on_meta(net_class=IPGNet, **settings):
    """Build a network of full width without memory or time."""
    with torch.device('meta'):
        return net_class(**{'depth': 50, **settings})


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


def test_multiply_adds_at_800_by_1344():
    trunk, *guided = (
        count_macs(on_meta(**settings), 800, 1344) / 1e9
        for settings in (dict(fused_stages=()), *(dict(fusion=fusion) for fusion in FUSIONS))
    )
    assert trunk == pytest.approx(87.6, abs=0.05)
    # The transformations of the images have 12.8, the fusions as here.
    expected = [trunk + 12.8 + fusion for fusion in (0, 357, 238, 264)]
    assert guided == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(
    ('settings', 'strides', 'dilations'),
    [
        (dict(num_stages=4), [4, 8, 16, 32], []),
        (dict(num_stages=7), [4, 8, 16, 32, 64, 128, 128], [1, 1, 2]),
        (dict(num_stages=7, keep_stride=True), [4, 8, 16, 32, 32, 32, 32], [2, 2, 2]),
    ],
)
def test_extra_stages(settings, strides, dilations):
    net = on_meta(**settings, out_indices=range(settings['num_stages']))
    outputs = net(torch.empty(1, 3, 1024, 1024, device='meta'))
    assert [1024 // output.shape[2] for output in outputs] == strides
    assert [output.shape[1] for output in outputs] == [256, 512, 1024] + [2048] * (len(strides) - 3)
    assert list(net.guidance) == ['layer2', 'layer3', 'layer4']
    for name, dilation in zip(net.res_layers[4:], dilations, strict=True):
        convs = [block.conv2 for block in getattr(net, name)]  # two blocks of stage 4's width
        assert [conv.dilation for conv in convs] == [(dilation, dilation)] * 2
        assert [conv.out_channels for conv in convs] == [512] * 2


def test_extra_stages_of_a_resnext_are_grouped():
    net = on_meta(IPGResNeXt, groups=4, base_width=4, num_stages=5, out_indices=(4,))
    assert net.layer5[0].conv2.groups == 4


@pytest.mark.parametrize(
    ('net_class', 'settings', 'sizes'),
    [
        (IPGNet, dict(fused_stages=(1, 2, 3, 4)), [(1, 4), (33, 100), (601, 1804)]),
        (IPGNet, dict(style='caffe'), [(1, 4), (33, 100), (601, 1804)]),
        (IPGNet, dict(deep_stem=True, avg_down=True, share_stem=True), [(203, 331)]),
        (IPGNet, dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), [(203, 331)]),
        (IPGNet, dict(stem_channels=4, guidance_stem_channels=6), [(203, 331)]),
        # Stages of equal stride get equal levels.
        (IPGDetNet, dict(depth=59), [(203, 331)]),
    ],
)
def test_sizes_of_both_inputs_of_a_fusion_agree(net_class, settings, sizes):
    net = on_meta(net_class, base_channels=8, **settings)
    shapes = []
    for guidance in net.guidance.values():
        guidance.fusion.register_forward_hook(
            lambda _, inputs, __: shapes.append([x.shape for x in inputs])
        )
    for height, width in sizes:
        shapes.clear()
        net(torch.empty(2, 3, height, width, device='meta'))
        assert len(shapes) == len(net.guidance)
        for (image_shape, stage_shape), guidance in zip(shapes, net.guidance.values(), strict=True):
            assert image_shape == stage_shape
            stride = 4 * guidance.shrink_factor
            assert stage_shape[2:] == (-(-height // stride), -(-width // stride))

"""IPG-Net's sizes: parameters, operations, strides and the paper's geometry, worked by hand."""

import pytest
import torch
from helpers import count_macs, count_parameters

from mmdet_detnet.models import IPGDetNet, IPGNet

RESNET50_PARAMETERS = 23_508_032


def on_meta(net_class=IPGNet, **settings):
    """Build a network of full width without memory or time."""
    with torch.device('meta'):
        return net_class(**{'depth': 50, **settings})


def fused_shapes(net, height, width):
    """Run the network on nothing; return the shapes of both inputs of each fusion."""
    shapes = []
    for guidance in net.guidance.values():
        guidance.fusion.register_forward_hook(
            lambda _, inputs, __: shapes.append([tuple(x.shape) for x in inputs])
        )
    net(torch.empty(2, 3, height, width, device='meta'))
    return shapes


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
    transformations = 12.8
    trunk, guided = (
        count_macs(on_meta(**settings), 800, 1344) / 1e9
        for settings in (dict(fused_stages=()), dict(fusion=fusion))
    )
    assert trunk == pytest.approx(87.6, abs=0.05)
    assert guided - trunk == pytest.approx(transformations + gmacs, abs=0.5)


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
    for height in (1, 2, 5, 16, 33, 601):
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


def test_guided_detnet_gives_equal_levels_to_stages_of_equal_stride():
    net = on_meta(IPGDetNet, depth=59)
    assert [guidance.shrink_factor for guidance in net.guidance.values()] == [2, 4, 4]
    for image_shape, stage_shape in fused_shapes(net, 203, 331):
        assert image_shape == stage_shape
    assert [count_parameters(net.guidance[name]) for name in ('layer2', 'layer3')] == [
        266_048,
        948_544,
    ]

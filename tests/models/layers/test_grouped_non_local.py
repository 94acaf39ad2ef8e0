"""The non-local block against the authors' formula, written out position by position."""

import torch
from helpers import count_parameters
from torch import nn

from mmdet_detnet.models.layers import GroupedNonLocal


def test_parameter_count_at_the_papers_width():
    block = GroupedNonLocal(1024)
    assert count_parameters(block) == 2_099_712 + 2_048  # convolutions and batch norm


def test_groups_change_no_parameter():
    assert count_parameters(GroupedNonLocal(64, groups=1)) == count_parameters(GroupedNonLocal(64))


def test_is_the_identity_at_the_start():
    features = torch.rand(3, 32, 7, 7)
    assert torch.equal(GroupedNonLocal(32)(features), features)


def test_last_normalization_starts_at_one():
    assert GroupedNonLocal(32).out_norm.weight.eq(1).all()


def test_gradient_reaches_the_last_convolution_at_the_start():
    block = GroupedNonLocal(32)
    block(torch.rand(3, 32, 7, 7)).square().sum().backward()
    assert block.out_conv.weight.grad.abs().sum() > 0


def test_formula():
    groups, channels, height, width = 4, 32, 3, 5
    block = GroupedNonLocal(channels, groups, norm_cfg=dict(type='GN', num_groups=2)).eval()
    nn.init.normal_(block.out_conv.weight, std=0.1)
    x = torch.randn(2, channels, height, width)
    theta, phi, g = (layer(x).flatten(2) for layer in (block.theta, block.phi, block.g))
    y = torch.zeros_like(g)
    size = channels // 2 // groups
    positions = height * width
    for group in range(groups):
        inside = slice(group * size, (group + 1) * size)
        for i in range(positions):
            for j in range(positions):
                affinity = (theta[:, inside, i] * phi[:, inside, j]).sum(1) / positions
                y[:, inside, i] += affinity[:, None] * g[:, inside, j]
    expected = torch.relu(x + block.out_norm(block.out_conv(y.view(2, -1, height, width))))
    torch.testing.assert_close(block(x), expected)


def test_norm_cfg_and_conv_cfg_reach_its_layers():
    block = GroupedNonLocal(
        32, conv_cfg=dict(type='ConvWS'), norm_cfg=dict(type='GN', num_groups=2)
    )
    kinds = {type(module).__name__ for module in block.children()}
    assert kinds == {'ConvWS2d', 'GroupNorm'}

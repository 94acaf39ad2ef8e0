"""No layer is dead: with the settings of mmdet's ResNets and a ResNet's weights, all learn.

A slice of mmdet's configs; ``--all-configs`` takes every one of them.
"""

import pytest
import torch
from mmdet.models.backbones import ResNet, ResNeXt
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.registry import MODELS
from mmdet_backbones import WIDTH, all_resnets, slice_of_resnets

from mmdet_detnet.models import DetNet, IPGNet

NUM_DETNET_STAGES = 5
# Added before a softmax to all its inputs: its gradient is zero but for rounding.
WITHOUT_EFFECT = 'context_block.conv_mask.bias'
RESNET_ONLY = ('strides', 'dilations', 'num_stages', 'groups', 'base_width')
FROZEN = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True, frozen_stages=1)
LEARNED = dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=True, frozen_stages=1)


@pytest.fixture(autouse=True)
def two_blocks_a_stage(monkeypatch):
    """Shorten the networks: one block with a projection, one without."""
    for net, depths, stages in ((ResNet, (50, 101), 4), (ResNeXt, (50, 101), 4)):
        block = net.arch_settings[50][0]
        settings = {depth: (block, (2,) * stages) for depth in depths}
        monkeypatch.setattr(net, 'arch_settings', settings)
    settings = {depth: (Bottleneck, (2,) * NUM_DETNET_STAGES) for depth in (59, 110)}
    monkeypatch.setattr(DetNet, 'arch_settings', settings)


def as_detnet(backbone):
    """Turn a ResNet's config into that of the DetNet with its settings."""
    options = {key: value for key, value in backbone.items() if key not in RESNET_ONLY}
    options.update(type='mmdet_detnet.DetNet', depth={50: 59, 101: 110}[backbone['depth']])
    options['out_indices'] = [*backbone['out_indices'], NUM_DETNET_STAGES - 1]
    if 'stage_with_dcn' in options:
        options['stage_with_dcn'] = [*options['stage_with_dcn'], True]
    options['plugins'] = [
        {**plugin, 'stages': [*plugin['stages'], True]} for plugin in options.get('plugins', [])
    ]
    return options


def as_ipgnet(backbone):
    """Turn a ResNet's config into that of the IPG-Net, by one line."""
    type_name = {'ResNet': 'IPGNet', 'ResNeXt': 'IPGResNeXt'}[backbone['type']]
    return {**backbone, 'type': f'mmdet_detnet.{type_name}'}


def with_resnet_weights(options, trunk, tmp_path):
    """Build a network whose ``init_cfg`` names a checkpoint of the ResNet ``trunk``."""
    resnet = MODELS.build(trunk)
    for module in resnet.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.constant_(module.norm3.weight, 0.2)
    torch.save(resnet.state_dict(), tmp_path / 'resnet.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth'))
    net = MODELS.build({**options, 'init_cfg': init_cfg})
    net.init_weights()
    return net.train()


def dead_parameters(net):
    """Train for two steps; name what has no gradient then, among what is trainable."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(2):
        backward(net)
        optimizer.step()
        optimizer.zero_grad()
    backward(net)
    return [
        name
        for name, parameter in net.named_parameters()
        if parameter.requires_grad
        and not name.endswith(WITHOUT_EFFECT)
        and (parameter.grad is None or not parameter.grad.any())
    ]


def backward(net):
    outputs = net(torch.randn(2, 3, 64, 96))
    sum((output * torch.randn_like(output)).mean() for output in outputs).backward()


def fails(name, net_config, trunk, tmp_path):
    dead = dead_parameters(with_resnet_weights(net_config, trunk, tmp_path))
    return [f'{name}: {net_config["type"]}: {", ".join(dead)}'] if dead else []


def test_every_layer_learns_with_the_settings_of_mmdets_configs(pytestconfig, tmp_path):
    problems = []
    resnets = all_resnets() if pytestconfig.getoption('all_configs') else slice_of_resnets()
    assert len(resnets) > 10
    for name, resnet in resnets.items():
        if resnet['type'] == 'ResNet':
            problems += fails(name, as_detnet(resnet), resnet, tmp_path)
        if resnet['num_stages'] == 4:
            problems += fails(name, as_ipgnet(resnet), resnet, tmp_path)
    assert not problems, '\n'.join(problems)


@pytest.mark.parametrize(
    ('norms', 'options'),
    [
        (FROZEN, dict(zero_init_guidance=True)),
        (LEARNED, dict(zero_init_guidance=True)),
        (FROZEN, dict(share_stem=True, num_stages=7, out_indices=(3, 4, 5, 6))),
        (LEARNED, dict(fusion='sum', num_stages=7, keep_stride=True, out_indices=(0, 6))),
        (FROZEN, dict(fusion='product')),
        (LEARNED, dict(fusion='concat', fusion_relu=True)),
    ],
)
def test_every_option_of_the_guidance_learns(tmp_path, norms, options):
    trunk = dict(type='ResNet', depth=50, base_channels=WIDTH, **norms)
    net = {**trunk, 'fusion_kernel': 1, **options, 'type': 'mmdet_detnet.IPGNet'}
    assert not fails('', net, trunk, tmp_path)


def test_a_block_whose_norms_are_frozen_starts_at_one_and_others_at_zero():
    for norms, expected in ((FROZEN, 1), (LEARNED, 0)):
        net = IPGNet(depth=50, base_channels=WIDTH, num_stages=5, out_indices=(4,), **norms)
        net.init_weights()
        for block in (net.layer5[1], net.guidance['layer3'].transformation.bottleneck[0]):
            assert block.norm3.weight.eq(expected).all()

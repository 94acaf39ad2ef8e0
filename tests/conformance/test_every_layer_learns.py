"""No layer is dead: backbones with the settings of mmdet's ResNets, and RoI heads, learn."""

import pytest
import torch
from helpers import few_blocks
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.registry import MODELS
from mmdet_families import CONFIGS
from mmengine.config import Config
from models.double_head import small_double_head as small

from mmdet_detnet import config_path
from mmdet_detnet.models import IPGNet

WIDTH = 8
NUM_GROUPS = 4  # of group norm and of ResNeXt's convolutions
NUM_DETNET_STAGES = 5
# Added before a softmax to all its inputs: its gradient is zero but for rounding.
WITHOUT_EFFECT = 'context_block.conv_mask.bias'
# One config for each setting that matters here: what is frozen, the norm, stride, dilation, DCN,
# plugins, weight standardization, groups.
SLICE = (
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py',
    'fpg/faster-rcnn_r50_fpg_crop640-50e_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    'fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    'gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',
    'gcnet/mask-rcnn_r50-syncbn-gcb-r16-c3-c5_fpn_1x_coco.py',
    'empirical_attention/faster-rcnn_r50-attn1111-dcn_fpn_1x_coco.py',
    'scratch/faster-rcnn_r50-scratch_fpn_gn-all_6x_coco.py',
    'cascade_rcnn/cascade-mask-rcnn_x101-32x8d_fpn_ms-3x_coco.py',
)
RESNET_ONLY = ('strides', 'dilations', 'num_stages', 'groups', 'base_width')
FROZEN = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True, frozen_stages=1)
LEARNED = dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=True, frozen_stages=1)


@pytest.fixture(autouse=True)
def two_blocks_a_stage():
    """Shorten the networks: one block with a projection, one without."""
    with few_blocks(2):
        yield


def read_resnet(name):
    """Take the ResNet out of a detector's config, narrow and without a checkpoint."""
    backbone = Config.fromfile(CONFIGS / name).model.backbone.to_dict()
    backbone = {key: value for key, value in backbone.items() if key != 'init_cfg'}
    for options, key in ((backbone, 'groups'), (backbone.get('norm_cfg', {}), 'num_groups')):
        if key in options:
            options[key] = NUM_GROUPS
    return {**backbone, 'base_channels': WIDTH}


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


def random_loss(net):
    outputs = net(torch.randn(2, 3, 64, 96))
    return sum((output * torch.randn_like(output)).mean() for output in outputs)


def assert_learns(net, compute_loss):
    """Train for two steps: everything trainable has a gradient then."""
    parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3)
    for _ in range(3):
        optimizer.step()  # the first does nothing
        optimizer.zero_grad()
        compute_loss(net).backward()
    dead = [name for name, p in parameters.items() if p.grad is None or not p.grad.any()]
    assert [name for name in dead if not name.endswith(WITHOUT_EFFECT)] == []


@pytest.mark.parametrize('name', SLICE)
def test_every_layer_learns_with_the_settings_of_mmdets_configs(name, tmp_path):
    resnet = read_resnet(name)
    if resnet['type'] == 'ResNet':
        assert_learns(with_resnet_weights(as_detnet(resnet), resnet, tmp_path), random_loss)
    if resnet['num_stages'] == 4:
        assert_learns(with_resnet_weights(as_ipgnet(resnet), resnet, tmp_path), random_loss)


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
    assert_learns(with_resnet_weights(net, trunk, tmp_path), random_loss)


def test_a_block_whose_norms_are_frozen_starts_at_one_and_others_at_zero():
    for norms, expected in ((FROZEN, 1), (LEARNED, 0)):
        net = IPGNet(depth=50, base_channels=WIDTH, num_stages=5, out_indices=(4,), **norms)
        net.init_weights()
        for block in (net.layer5[1], net.guidance['layer3'].transformation.bottleneck[0]):
            assert block.norm3.weight.eq(expected).all()


SMALL_HEAD = dict(in_channels=WIDTH, conv_out_channels=32, fc_out_channels=16, num_classes=3)
PLAIN = 'double_head/double-head_r50_fpn_1x_coco.py'
EXT = 'double_head/double-head-ext-nonlocal_r50_fpn_1x_coco.py'
CASCADE = 'double_head/double-head-cascade-rcnn_r50_fpn_1x_coco.py'
FROZEN_NORM = dict(norm_cfg=FROZEN['norm_cfg'])


def roi_head_loss(roi_head):
    inputs = small.make_feats(), small.make_proposals(40, 30), small.make_samples(3, 2)
    return small.sum_losses(roi_head.loss(*inputs))


@pytest.mark.parametrize(
    ('config', 'head', 'options'),
    [
        (PLAIN, {}, {}),
        (PLAIN, FROZEN_NORM, {}),
        (PLAIN, {}, dict(regress_positives_only=True)),
        (EXT, {}, {}),
        (CASCADE, FROZEN_NORM, {}),
    ],
)
def test_every_parameter_of_a_roi_head_learns(config, head, options):
    model = Config.fromfile(config_path(config)).model
    cfg = model.roi_head
    cfg.bbox_roi_extractor.out_channels = WIDTH
    for each in cfg.bbox_head if isinstance(cfg.bbox_head, list) else [cfg.bbox_head]:
        each.update(SMALL_HEAD)
        each.update(head)
    cfg.update(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn, **options)
    roi_head = MODELS.build(cfg)
    roi_head.init_weights()
    assert_learns(roi_head.train(), roi_head_loss)

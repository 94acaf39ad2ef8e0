"""DetNet against the paper's figures, and against mmdet's ResNet where they are the same."""

import pytest
import torch
from helpers import count_macs, count_parameters
from mmdet.models import ResNet
from mmdet.registry import MODELS
from mmengine.hub import get_config
from torch import nn

from mmdet_detnet.models import DetNet

SLIM = dict(depth=59, base_channels=8)


@pytest.mark.parametrize(
    ('projection', 'parameters'),
    # With the classifier of 1,025,000, the first has the paper's 18.4 million.
    [('both', 17_347_648), ('stage5', 16_297_024), ('none', 15_246_400)],
)
def test_parameter_counts_are_those_of_the_papers_design(projection, parameters):
    with torch.device('meta'):
        assert count_parameters(DetNet(depth=59, projection=projection)) == parameters


@pytest.mark.parametrize(
    ('projection', 'projected'),
    [('both', [True, True]), ('stage5', [True, False]), ('none', [False, False])],
)
def test_projection_selects_the_stages_that_open_with_one(projection, projected):
    net = DetNet(**SLIM, projection=projection)
    shortcuts = [block.downsample is not None for block in (*net.layer4, *net.layer5)]
    assert shortcuts == [projected[0], False, False, projected[1], False, False]


@pytest.mark.parametrize(
    ('style', 'projection', 'gmacs'),
    [('caffe', 'both', 4.846), ('pytorch', 'both', 5.000), ('caffe', 'stage5', 4.640)],
)
def test_multiply_adds_at_224(style, projection, gmacs):
    with torch.device('meta'):
        net = DetNet(depth=59, style=style, projection=projection)
    classifier = 1024 * 1000
    assert round((count_macs(net, 224, 224) + classifier) / 1e9, 3) == gmacs


def test_deep_outputs_have_one_size_on_odd_inputs():
    with torch.device('meta'):
        outputs = DetNet(depth=59)(torch.empty(1, 3, 203, 331))
    assert [output.shape[1] for output in outputs] == [256, 512, 1024, 1024, 1024]
    sizes = [tuple(output.shape[2:]) for output in outputs]
    assert sizes == [(51, 83), (26, 42), (13, 21), (13, 21), (13, 21)]


@pytest.mark.parametrize(('depth', 'blocks'), [(59, [3, 4, 6, 3, 3]), (110, [3, 4, 23, 3, 3])])
def test_depth_sets_the_number_of_blocks(depth, blocks):
    net = DetNet(depth=depth, base_channels=8)
    assert [len(getattr(net, name)) for name in net.res_layers] == blocks


def test_deep_stages_are_dilated():
    net = DetNet(**SLIM)
    for stage in (net.layer4, net.layer5):
        assert [block.conv2.dilation for block in stage] == [(2, 2)] * 3
        assert [block.conv2.stride for block in stage] == [(1, 1)] * 3


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_first_stages_equal_resnet_bit_for_bit(style):
    resnet = ResNet(depth=50, style=style, base_channels=8)
    net = DetNet(**SLIM, style=style)
    net.load_state_dict(
        {k: v for k, v in resnet.state_dict().items() if not k.startswith('layer4')}, strict=False
    )
    image = torch.rand(2, 3, 65, 97)
    resnet.train(), net.train()
    for expected, actual in zip(resnet(image)[:3], net(image)[:3], strict=True):
        assert torch.equal(expected, actual)


def test_all_stages_can_be_frozen():
    net = DetNet(**SLIM, frozen_stages=5)
    net.train()
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not net.layer4.training
    assert not net.layer5.training


def test_group_norm_and_deep_stem_reach_every_layer():
    group_norm = dict(type='GN', num_groups=4)
    net = DetNet(**SLIM, norm_cfg=group_norm, deep_stem=True, avg_down=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert net(torch.rand(1, 3, 64, 64))[4].shape == (1, 128, 4, 4)


def test_deformable_convolutions_and_plugins_are_in_their_stages():
    context = dict(type='ContextBlock', ratio=1 / 4)
    net = DetNet(
        **SLIM,
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, False, False, True, True),
        plugins=[
            dict(cfg=context, stages=(False, False, True, False, True), position='after_conv3'),
            dict(cfg=dict(context, postfix='_all'), stages=None, position='after_conv3'),
        ],
    )
    blocks = [getattr(net, name)[-1] for name in net.res_layers]
    assert [block.with_dcn for block in blocks] == [False, False, False, True, True]
    with_plugin = [hasattr(block, 'context_block') for block in blocks]
    assert with_plugin == [False, False, True, False, True]
    assert all(hasattr(block, 'context_block_all') for block in blocks)
    assert net(torch.rand(1, 3, 64, 64))[4].shape == (1, 128, 4, 4)


def test_new_blocks_start_as_the_others_do():
    net = DetNet(**SLIM)
    net.init_weights()
    for name in net.res_layers:
        for block in getattr(net, name):
            assert (block.norm3.weight == 0).all()
    # The convolutions are Kaiming's, normal with variance 2 / (3 * 3 * 32), not torch's default.
    assert net.layer5[0].conv2.weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


def test_merged_into_a_config_of_a_resnet_it_ignores_the_stages_of_that():
    model = get_config('mmdet::_base_/models/faster-rcnn_r50_fpn.py').model
    slim_net = dict(type='mmdet_detnet.DetNet', depth=59, base_channels=4, strides=[1, 2, 2, 2])
    outputs = dict(out_indices=(1, 2, 3, 4), init_cfg=None)
    net = MODELS.build({**model.backbone, **slim_net, **outputs})
    assert len(net.res_layers) == 5


@pytest.mark.parametrize(
    ('argument', 'error', 'message'),
    [
        (dict(num_stages=3), ValueError, 'num_stages must be left out, or 4 .*_delete_=True'),
        (dict(strides=(1, 2, 2, 1)), ValueError, 'strides must be left out'),
        (dict(strides=2), ValueError, 'strides must be left out, .* got 2'),
        (dict(groups=32), TypeError, "unexpected keyword argument 'groups'"),
    ],
)
def test_other_arguments_of_a_resnet_are_refused(argument, error, message):
    with pytest.raises(error, match=message):
        DetNet(59, **argument)

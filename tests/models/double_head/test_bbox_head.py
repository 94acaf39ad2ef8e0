"""The box head: its parameters, its blocks, and the same outputs as those of mmdet."""

import pytest
import torch
from helpers import count_parameters
from mmdet.models.roi_heads.bbox_heads import DoubleConvFCBBoxHead as MMDetHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS, TASK_UTILS
from small_double_head import (
    CHANNELS,
    NUM_CLASSES,
    assert_every_parameter_has_a_gradient,
    make_head,
)
from torch import nn

from mmdet_detnet.models import DoubleConvFCBBoxHead
from mmdet_detnet.models.double_head import bbox_head
from mmdet_detnet.models.double_head.bbox_head import GroupedNonLocal

EXT = dict(lambda_fc=0.7, lambda_conv=0.8)


def test_non_local_block_is_its_formula():
    groups, channels, height, width = 4, 32, 3, 5
    block = GroupedNonLocal(channels, norm_cfg=dict(type='GN', num_groups=2)).eval()
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


@pytest.mark.parametrize(
    ('options', 'parameters'),
    [
        (dict(num_convs=4), 19_894_161),
        (dict(num_convs=2, num_nonlocal=2), 21_863_313),
        (dict(num_convs=4, **EXT), 20_305_186),
        (dict(num_convs=2, num_nonlocal=2, **EXT), 22_274_338),
    ],
)
def test_parameter_counts(options, parameters):
    with torch.device('meta'):
        assert count_parameters(DoubleConvFCBBoxHead(num_fcs=2, **options)) == parameters


def test_predictors_of_both_heads_start_alike_and_nonlocal_blocks_as_the_identity():
    head = DoubleConvFCBBoxHead(num_convs=1, num_fcs=1, num_nonlocal=1, **EXT)
    head.init_weights()
    classifiers, regressors = (
        (head.fc_cls, head.unfocused_cls.fc_cls),
        (head.fc_reg, head.unfocused_reg.fc_reg),
    )
    for layers, std in ((classifiers, 0.01), (regressors, 0.001)):
        for layer in layers:
            assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
            assert (layer.bias == 0).all()
    assert head.nonlocal_blocks[0].out_conv.weight.eq(0).all()


def test_mmdet_checkpoint_lacks_only_what_is_new():
    with torch.device('meta'):
        ours = DoubleConvFCBBoxHead(num_convs=4, num_fcs=2, num_nonlocal=2, **EXT)
        mmdets = MMDetHead(num_convs=4, num_fcs=2).state_dict()
    missing, unexpected = ours.load_state_dict(mmdets, strict=False, assign=True)
    assert unexpected == []
    new = {'nonlocal_blocks', 'unfocused_cls', 'unfocused_reg'}
    assert {key.split('.')[0] for key in missing} == new
    assert MODELS.get('DoubleConvFCBBoxHead') is MMDetHead  # which keeps its name


def test_outputs_equal_mmdets():
    ours, mmdets = make_head(), make_head('mmdet')
    mmdets.load_state_dict(ours.state_dict())
    x_cls, x_reg = torch.randn(2, 20, CHANNELS, 7, 7)
    for own, other in zip(ours(x_cls, x_reg), mmdets(x_cls, x_reg), strict=True):
        assert torch.equal(own, other)


def test_chunks_change_nothing_and_are_not_made_in_training(monkeypatch):
    head, x = make_head(), torch.randn(23, CHANNELS, 7, 7)
    whole = head.conv_features(x)
    monkeypatch.setattr(bbox_head, 'CPU_CHUNK_SIZE', 5)
    torch.testing.assert_close(head.conv_features(x), whole, rtol=1e-6, atol=1e-6)
    head.train().conv_features(x)
    assert head.res_block.conv1.bn.num_batches_tracked == 1


def test_nonlocal_blocks_come_before_the_bottlenecks():
    head = make_head(num_convs=3, num_nonlocal=2)
    order = []
    for module in [head.res_block, *head.conv_branch, *head.nonlocal_blocks]:
        module.register_forward_hook(lambda module, *_: order.append(type(module).__name__))
    head.conv_features(torch.randn(1, CHANNELS, 7, 7))
    pair = ['GroupedNonLocal', 'Bottleneck']
    assert order == ['BasicResBlock', *pair, *pair, 'Bottleneck']


def test_norm_cfg_and_conv_cfg_reach_every_block():
    norm_cfg, conv_cfg = dict(type='GN', num_groups=2), dict(type='ConvWS')
    modules = list(make_head(num_nonlocal=2, norm_cfg=norm_cfg, conv_cfg=conv_cfg).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    convs = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert {type(module).__name__ for module in convs} == {'ConvWS2d'}
    assert len(convs) == 3 + 2 * 3 + 2 * 4  # first block, bottlenecks, non-local blocks


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('options', [{}, dict(num_nonlocal=2, **EXT)])
def test_no_roi(training, options):
    head = make_head(**options).train(training)
    empty = torch.zeros(0, CHANNELS, 7, 7)
    outputs = head(empty, empty)
    widths = [NUM_CLASSES + 1, NUM_CLASSES * 4] * (2 if options else 1)
    assert [output.shape for output in outputs] == [(0, width) for width in widths]
    sum(output.sum() for output in outputs).backward()
    assert_every_parameter_has_a_gradient(head, zero=True)
    assert head.res_block.conv1.bn.running_mean.isfinite().all()


@TASK_UTILS.register_module()
class FiveNumbers(DeltaXYWHBBoxCoder):
    encode_size = 5


@pytest.mark.parametrize(
    ('options', 'classes', 'numbers'),
    [
        (dict(reg_class_agnostic=True), NUM_CLASSES + 1, 4),
        (dict(bbox_coder=dict(type='FiveNumbers')), NUM_CLASSES + 1, NUM_CLASSES * 5),
        # Seesaw's has two channels for objectness.
        (
            dict(loss_cls=dict(type='SeesawLoss', num_classes=NUM_CLASSES)),
            NUM_CLASSES + 2,
            NUM_CLASSES * 4,
        ),
    ],
)
def test_widths_of_the_predictors_of_both_heads(options, classes, numbers):
    outputs = make_head(**options, **EXT)(*torch.randn(2, 3, CHANNELS, 7, 7))
    assert [output.shape[1] for output in outputs] == [classes, numbers] * 2


def test_predictor_configs_are_honored():
    cosine = dict(type='NormedLinear', power=2.0)
    head = make_head(cls_predictor_cfg=cosine, reg_predictor_cfg=dict(type='NormedLinear'), **EXT)
    predictors = head.fc_cls, head.fc_reg, head.unfocused_cls.fc_cls, head.unfocused_reg.fc_reg
    assert {type(predictor).__name__ for predictor in predictors} == {'NormedLinear'}

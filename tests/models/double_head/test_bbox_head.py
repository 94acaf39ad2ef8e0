"""The box head: its parameters, its blocks, and the same outputs as those of mmdet."""

import pytest
import torch
from helpers import count_parameters
from mmdet.models.roi_heads.bbox_heads import DoubleConvFCBBoxHead as MMDetHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS, TASK_UTILS
from small_double_head import CHANNELS, NUM_CLASSES
from torch import nn

from mmdet_detnet.models import DoubleConvFCBBoxHead
from mmdet_detnet.models.double_head.bbox_head import GroupedNonLocal


def test_non_local_block_is_its_formula():
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


FULL = dict(num_convs=4, num_fcs=2)
EXT = dict(lambda_fc=0.7, lambda_conv=0.8)


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


def test_predictors_of_both_heads_start_alike():
    head = DoubleConvFCBBoxHead(num_convs=1, num_fcs=1, **EXT)
    head.init_weights()
    for fc_cls in (head.fc_cls, head.unfocused_cls.fc_cls):
        assert fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert (fc_cls.bias == 0).all()
    for fc_reg in (head.fc_reg, head.unfocused_reg.fc_reg):
        assert fc_reg.weight.std().item() == pytest.approx(0.001, rel=0.05)
        assert (fc_reg.bias == 0).all()


def test_mmdet_checkpoint_lacks_only_what_is_new():
    with torch.device('meta'):
        ours = DoubleConvFCBBoxHead(num_convs=4, num_fcs=2, num_nonlocal=2, **EXT)
        mmdets = MMDetHead(**FULL).state_dict()
    missing, unexpected = ours.load_state_dict(mmdets, strict=False, assign=True)
    assert unexpected == []
    assert {key.split('.')[0] for key in missing} == {
        'nonlocal_blocks',
        'unfocused_cls',
        'unfocused_reg',
    }


def test_mmdet_keeps_its_own_class():
    assert MODELS.get('DoubleConvFCBBoxHead') is MMDetHead


def test_outputs_equal_mmdets(make_head):
    ours, mmdets = make_head(), make_head('mmdet')
    mmdets.load_state_dict(ours.state_dict())
    x_cls, x_reg = torch.randn(2, 20, CHANNELS, 7, 7)
    for own, other in zip(ours(x_cls, x_reg), mmdets(x_cls, x_reg), strict=True):
        assert torch.equal(own, other)


def test_chunks_change_nothing(make_head, monkeypatch):
    head, x = make_head(), torch.randn(23, CHANNELS, 7, 7)
    whole = head.conv_features(x)
    monkeypatch.setattr('mmdet_detnet.models.double_head.bbox_head.CPU_CHUNK_SIZE', 5)
    torch.testing.assert_close(head.conv_features(x), whole, rtol=1e-6, atol=1e-6)


def test_batch_norm_sees_all_rois_in_training(make_head, monkeypatch):
    head, x = make_head().train(), torch.randn(23, CHANNELS, 7, 7)
    monkeypatch.setattr('mmdet_detnet.models.double_head.bbox_head.CPU_CHUNK_SIZE', 5)
    norm = head.res_block.conv1.bn
    head.conv_features(x)
    assert norm.num_batches_tracked == 1


def test_nonlocal_blocks_come_before_the_bottlenecks(make_head):
    head = make_head(num_convs=3, num_nonlocal=2)
    order = []
    for module in [head.res_block, *head.conv_branch, *head.nonlocal_blocks]:
        module.register_forward_hook(lambda module, *_: order.append(type(module).__name__))
    head.conv_features(torch.randn(1, CHANNELS, 7, 7))
    assert order == [
        'BasicResBlock',
        'GroupedNonLocal',
        'Bottleneck',
        'GroupedNonLocal',
        'Bottleneck',
        'Bottleneck',
    ]


def test_nonlocal_blocks_start_as_the_identity_after_init_weights(make_head):
    head = make_head(num_nonlocal=2)
    head.init_weights()
    assert all(block.out_conv.weight.eq(0).all() for block in head.nonlocal_blocks)


def test_norm_cfg_and_conv_cfg_reach_every_block(make_head):
    head = make_head(
        num_nonlocal=2, norm_cfg=dict(type='GN', num_groups=2), conv_cfg=dict(type='ConvWS')
    )
    modules = list(head.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    convs = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert {type(module).__name__ for module in convs} == {'ConvWS2d'}
    assert len(convs) == 3 + 2 * 3 + 2 * 4  # first block, bottlenecks, non-local blocks


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('options', [{}, dict(num_nonlocal=2, **EXT)])
def test_no_roi(make_head, training, options):
    head = make_head(**options).train(training)
    empty = torch.zeros(0, CHANNELS, 7, 7)
    outputs = head(empty, empty)
    widths = [NUM_CLASSES + 1, NUM_CLASSES * 4] * (2 if options else 1)
    assert [output.shape for output in outputs] == [(0, width) for width in widths]
    sum(output.sum() for output in outputs).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.eq(0).all(), name
    assert head.res_block.conv1.bn.running_mean.isfinite().all()


def test_class_agnostic_boxes(make_head):
    head = make_head(reg_class_agnostic=True, **EXT)
    outputs = head(*torch.randn(2, 3, CHANNELS, 7, 7))
    assert [output.shape[1] for output in outputs] == [NUM_CLASSES + 1, 4, NUM_CLASSES + 1, 4]


def test_predictor_configs_are_honored(make_head):
    cosine = dict(type='NormedLinear', power=2.0)
    head = make_head(cls_predictor_cfg=cosine, reg_predictor_cfg=dict(type='NormedLinear'), **EXT)
    predictors = head.fc_cls, head.fc_reg, head.unfocused_cls.fc_cls, head.unfocused_reg.fc_reg
    assert {type(predictor).__name__ for predictor in predictors} == {'NormedLinear'}


def test_losses_with_class_channels_of_their_own_are_honored(make_head):
    head = make_head(loss_cls=dict(type='SeesawLoss', num_classes=NUM_CLASSES), **EXT)
    cls_score, _, conv_cls_score, _ = head(*torch.randn(2, 3, CHANNELS, 7, 7))
    assert cls_score.shape == conv_cls_score.shape == (3, NUM_CLASSES + 2)  # Seesaw's objectness


def test_encode_size_of_the_box_coder_is_honored(make_head):
    @TASK_UTILS.register_module(name='FiveNumbers')
    class FiveNumbers(DeltaXYWHBBoxCoder):
        encode_size = 5

    head = make_head(bbox_coder=dict(type='FiveNumbers'), **EXT)
    predictors = head.fc_reg, head.unfocused_reg.fc_reg
    assert [predictor.out_features for predictor in predictors] == [NUM_CLASSES * 5] * 2

"""Modules of one detector that do not fit each other, and batch norm frozen at initial values."""

import mmengine.runner.checkpoint as checkpoints
import pytest
import torch
from small_detectors import Backbone, Detector
from small_detectors import roi_head as make_roi_head
from small_detectors import rpn_head as make_rpn_head
from torch import nn

from mmdet_detnet.training.checks import (
    find_frozen_norm_problems,
    find_model_problems,
    find_weight_problems,
    watch_loaded_norms,
)

DETNET_STRIDES = [4, 8, 16, 16, 16]
RETINA = dict(
    type='RetinaHead',
    num_classes=2,
    in_channels=32,
    feat_channels=32,
    anchor_generator=dict(type='AnchorGenerator', ratios=[1.0], scales=[8], strides=[8, 16]),
)


def problems_of(**heads):
    return find_model_problems(Detector(Backbone(), **heads))


@pytest.mark.parametrize(
    ('strides', 'base_sizes', 'words'),
    [
        (DETNET_STRIDES, None, 'levels 2 and 3 are equal, 16 pixels: set base_sizes.'),
        (DETNET_STRIDES, [4, 8, 16, 32, 32], 'levels 3 and 4 are equal, 32 pixels'),
        ([4, 8, 16, 32, 64], [16] * 5, 'levels 0 and 1 are equal, 16 pixels'),
    ],
)
def test_equal_anchors_are_named(strides, base_sizes, words):
    (problem,) = problems_of(rpn_head=make_rpn_head(strides, base_sizes))
    assert words in problem


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(size=14), 'bbox_head.roi_feat_size must be (7, 7), the output_size'),
        (dict(output_size=(7, 14)), 'bbox_head.roi_feat_size must be (7, 14), the output_size'),
        (
            dict(in_channels=16),
            "bbox_head.in_channels must be 32, the RoI extractor's out_channels",
        ),
    ],
)
def test_box_head_that_does_not_fit_its_extractor(options, words):
    (problem,) = problems_of(roi_head=make_roi_head(**options))
    assert words in problem


@pytest.mark.parametrize('decodes', [False, True])
@pytest.mark.parametrize(
    ('place', 'loss'),
    [('rpn_head', 'IoULoss'), ('bbox_head', 'GIoULoss'), ('roi_head', 'DIoULoss')],
)
def test_iou_loss_needs_decoded_boxes(loss, decodes, place):
    options = dict(loss_bbox=dict(type=loss), reg_decoded_bbox=decodes)
    heads = {
        'rpn_head': make_rpn_head(**options),
        'bbox_head': dict(**RETINA, **options),
        'roi_head': make_roi_head(**options),
    }
    problems = problems_of(**{place: heads[place]})
    assert len(problems) == 1 - decodes
    if problems:
        assert f'reg_decoded_bbox must be True with {loss}, got False.' in problems[0]


@pytest.mark.parametrize('kind', ['ATSSHead', 'FCOSHead'])
def test_heads_that_decode_by_themselves_need_no_option(kind):
    anchors = dict(RETINA['anchor_generator'], center_offset=0.0)
    options = {} if kind == 'FCOSHead' else dict(anchor_generator=anchors)
    head = dict(type=kind, num_classes=2, in_channels=32, feat_channels=32, **options)
    assert problems_of(bbox_head=dict(**head, loss_bbox=dict(type='GIoULoss'))) == []


def make_norms(frozen=False, evaluated=False):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].weight.requires_grad_(not frozen)
    model[1].bias.requires_grad_(not frozen)
    if evaluated:
        model[1].train = lambda mode=True: model[1]
        model[1].training = False
    return model


@pytest.mark.parametrize(
    ('frozen', 'evaluated', 'words'),
    [
        (False, True, ['initial statistics 0 and 1 in 1 (1 layers)']),
        (True, False, ['initial scale in 1 (1 layers)']),
        (True, True, ['initial statistics 0 and 1', 'initial scale']),
        (False, False, []),
    ],
)
def test_frozen_norm_without_weights_is_named(frozen, evaluated, words):
    problems = find_frozen_norm_problems(make_norms(frozen, evaluated))
    assert len(problems) == len(words)
    for problem, expected in zip(problems, words, strict=True):
        assert expected in problem


def test_frozen_norm_with_weights_is_let_pass():
    model = make_norms(frozen=True, evaluated=True)
    model[1].running_mean.fill_(0.1)
    model[1].weight.data.fill_(0.7)
    assert find_frozen_norm_problems(model) == []


def test_frozen_norm_whose_weights_in_the_file_are_the_initial_ones_is_let_pass():
    model = make_norms(frozen=True, evaluated=True)
    loaded = watch_loaded_norms(model)
    assert len(find_frozen_norm_problems(model, loaded)) == 2
    checkpoints.load_state_dict(model, make_norms().state_dict())
    assert find_frozen_norm_problems(model, loaded) == []


@pytest.mark.parametrize('frozen', [False, True])
def test_added_parts_may_start_without_statistics_where_they_learn(frozen):
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.guidance = make_norms(frozen, evaluated=True)
    model.backbone.added_parts = ['guidance']
    assert len(find_frozen_norm_problems(model)) == 2 * frozen


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda state: state.pop('0.bias'), ['A lacks weights of the config: 0.bias.']),
        (
            lambda state: state.update(extra=torch.zeros(1)),
            ['A has weights that the config lacks: extra.'],
        ),
        (
            lambda state: state.update({'0.weight': torch.zeros(5, 3, 1, 1)}),
            ['A has other shapes than the config: 0.weight (5, 3, 1, 1) instead of (4, 3, 1, 1).'],
        ),
        (
            lambda state: state.clear(),
            ['A lacks weights of the config: 0.bias, 0.weight, 1.bias and 3 more.'],
        ),
        (lambda state: state.pop('1.num_batches_tracked'), []),
        (lambda state: None, []),
    ],
)
def test_weights_of_another_model_are_named(change, words):
    model = make_norms()
    state = dict(model.state_dict())
    change(state)
    problems = find_weight_problems(model, state, 'A')
    assert len(problems) == len(words)
    for problem, expected in zip(problems, words, strict=True):
        assert problem.startswith(expected)

"""Strides, levels and channels of heads against the maps that the network gives."""

import pytest
import torch
from small_detectors import CHANNELS, IMAGE_SIZE, STRIDES, Backbone, Detector, make_maps
from small_detectors import roi_head as make_roi_head
from small_detectors import rpn_head as make_rpn_head

from mmdet_detnet.training.checks import FeatureMapCheck
from mmdet_detnet.training.checks.feature_maps import find_map_problems

DETNET_STRIDES = [4, 8, 16, 16, 16]
FROM_8 = [8, 16, 32, 64, 128]
ANCHORS_OF_8 = dict(
    anchor_generator=dict(
        type='AnchorGenerator', ratios=[1.0], scales=[8], strides=[8, 16, 32, 64, 128]
    )
)
POINTS = dict(type='MlvlPointGenerator', strides=[8, 16, 32], offset=0)
# Heads with the strides they are made for: anchors, points, and points of an anchor's option.
HEADS = {
    'mmdet_detnet.ConfidenceRetinaHead': (FROM_8, ANCHORS_OF_8),
    'FCOSHead': (STRIDES, {}),
    'RTMDetHead': ([8, 16, 32], dict(anchor_generator=POINTS)),
}


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('problem', ['', 'strides', 'levels', 'channels'])
def test_every_kind_of_head_is_compared_with_the_maps(name, problem):
    strides, options = HEADS[name]
    head = dict(type=name, num_classes=2, in_channels=CHANNELS, feat_channels=CHANNELS, **options)
    detector = Detector(Backbone(), bbox_head=head)
    maps = make_maps(
        [strides[0], *strides[:-1]]
        if problem == 'strides'
        else strides[: -(problem == 'levels') or None],
        CHANNELS * 2 if problem == 'channels' else CHANNELS,
    )
    problems = find_map_problems(detector, maps, IMAGE_SIZE)
    assert bool(problems) == bool(problem)
    if problem:
        word = 'in_channels' if problem == 'channels' else problem
        assert all(word in each for each in problems)
        assert all(each.count('\n') == 0 and ', got ' in each for each in problems)


@pytest.mark.parametrize(
    ('map_strides', 'rpn', 'roi', 'words'),
    [
        (DETNET_STRIDES, STRIDES, DETNET_STRIDES, 'the strides of rpn_head.prior_generator must'),
        (DETNET_STRIDES, DETNET_STRIDES, STRIDES, 'bbox_roi_extractor.featmap_strides must'),
        (STRIDES, DETNET_STRIDES, STRIDES, 'by the sizes of the feature maps, got [(4, 4), (8, 8)'),
        (STRIDES, STRIDES[:4], STRIDES[:4], 'levels of rpn_head.prior_generator must be 5'),
        (STRIDES[:3], STRIDES[:3], STRIDES[:4], 'levels of roi_head.bbox_roi_extractor.featmap'),
    ],
)
def test_two_stage_detector_with_wrong_strides(map_strides, rpn, roi, words):
    sizes = [4, 8, 16, 32, 64][: len(rpn)]
    detector = Detector(Backbone(), rpn_head=make_rpn_head(rpn, sizes), roi_head=make_roi_head(roi))
    problems = find_map_problems(detector, make_maps(map_strides), IMAGE_SIZE)
    assert any(words in problem for problem in problems), problems


def test_extractor_of_other_channels_is_named():
    detector = Detector(Backbone(), roi_head=make_roi_head(out_channels=CHANNELS * 2))
    (problem,) = find_map_problems(detector, make_maps(), IMAGE_SIZE)
    assert problem == (
        'roi_head.bbox_roi_extractor.out_channels must be [32], the channels of the feature maps, '
        'got 64.'
    )


@pytest.mark.parametrize('size', [(192, 256), (193, 255), (33, 65), (1, 1)])
@pytest.mark.parametrize('strides', [STRIDES, DETNET_STRIDES])
def test_any_image_size_fits_right_strides(size, strides):
    detector = Detector(
        Backbone(), rpn_head=make_rpn_head(strides, STRIDES), roi_head=make_roi_head(strides[:4])
    )
    assert find_map_problems(detector, make_maps(strides, size=size), size) == []


def run_first_batch(detector):
    check = FeatureMapCheck(detector)
    try:
        return detector.extract_feat(torch.zeros(2, 3, *IMAGE_SIZE))
    finally:
        check.remove()


def test_first_batch_stops_before_the_neck_asserts():
    """FPN itself would end with an AssertionError that says nothing."""
    neck = dict(type='FPN', in_channels=[CHANNELS] * 4, out_channels=CHANNELS, num_outs=5)
    with pytest.raises(ValueError, match=r'neck\.in_channels must be \[32, 32, 32, 32, 32\], the '):
        run_first_batch(Detector(Backbone(), neck))


@pytest.mark.parametrize('with_neck', [True, False])
def test_first_batch_stops_before_the_heads(with_neck):
    neck = dict(type='FPN', in_channels=[CHANNELS] * 5, out_channels=CHANNELS, num_outs=5)
    detector = Detector(
        Backbone(DETNET_STRIDES), neck if with_neck else None, rpn_head=make_rpn_head()
    )
    with pytest.raises(ValueError, match='the strides of rpn_head'):
        run_first_batch(detector)


def test_check_leaves_nothing_behind():
    detector = Detector(Backbone(), rpn_head=make_rpn_head())
    assert len(run_first_batch(detector)) == 5
    detector.rpn_head.prior_generator.strides[0] = (7, 7)
    detector.extract_feat(torch.zeros(1, 3, *IMAGE_SIZE))

"""Properties that hold for all inputs: Hypothesis looks for one that breaks them."""

import functools
import math

import pytest
import torch
from helpers import TINY_DOUBLE_HEAD
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.layers import multiclass_nms
from mmdet.registry import MODELS

from mmdet_detnet.models.retinanet_conf import joint_logits

# A compiled detector, of a test before, has the processor flush subnormal numbers to zero.
floats = functools.partial(st.floats, allow_subnormal=False)
quick = settings(max_examples=60, deadline=None, derandomize=True)
probability = floats(0, 1, width=32)
logit = floats(-12, 12, width=32)
seeds = st.integers(0, 2**31 - 1)
NUM_CLASSES = TINY_DOUBLE_HEAD['num_classes']


@quick
@given(st.lists(st.tuples(logit, logit), min_size=1, max_size=12), floats(0, 0.9), probability)
def test_joint_score_is_the_product_of_powers_above_the_threshold(pairs, exponent, score_thr):
    cls_logits, conf_logits = torch.tensor(pairs).T
    score_thr = min(score_thr, 0.95)
    joint = joint_logits(cls_logits[:, None], conf_logits, exponent, score_thr).sigmoid().flatten()
    for (cls, conf), score in zip(pairs, joint.tolist(), strict=True):
        cls_score, conf_score = 1 / (1 + math.exp(-cls)), 1 / (1 + math.exp(-conf))
        expected = cls_score ** (1 - exponent) * conf_score**exponent
        if score == 0:
            assert expected <= score_thr + 1e-5
        else:
            assert score == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope='module')
def box_head():
    return MODELS.build(TINY_DOUBLE_HEAD)


@quick
@given(seed=seeds, num_rois=st.integers(1, 30), score_thr=floats(0, 1))
def test_rois_above_the_threshold_have_all_detections(box_head, seed, num_rois, score_thr):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_rois, NUM_CLASSES + 1, generator=generator)
    corners = 50 * torch.rand(num_rois, NUM_CLASSES, 4, generator=generator)
    corners[..., 2:] += corners[..., :2]
    chosen = box_head.find_above(logits, score_thr)
    nms = dict(type='nms', iou_threshold=0.5)
    scores = box_head.class_probabilities(logits)
    expected = multiclass_nms(corners.flatten(1), scores, score_thr, nms, 100)
    if len(chosen) == 0:
        assert len(expected[0]) == 0
        return
    found = multiclass_nms(corners[chosen].flatten(1), scores[chosen], score_thr, nms, 100)
    assert all(map(torch.equal, found, expected))

"""Properties that hold for all inputs: Hypothesis looks for one that breaks them."""

import functools
import math

import pytest
import torch
from helpers import TINY_DOUBLE_HEAD
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import roi_align
from mmdet.models.layers import multiclass_nms
from mmdet.registry import MODELS

from mmdet_detnet.models.double_head.bbox_head import SCORE_FUSIONS
from mmdet_detnet.models.retinanet_conf import joint_logits

# A compiled detector, of a test before, has the processor flush subnormal numbers to zero.
floats = functools.partial(st.floats, allow_subnormal=False)
quick = settings(max_examples=60, deadline=None, derandomize=True)
probability = floats(0, 1, width=32)
probabilities = st.lists(probability, min_size=1, max_size=8)
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


@quick
@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=8))
def test_fused_scores_stay_between_their_bounds(pairs):
    first, second = torch.tensor(pairs).T
    larger, smaller = torch.maximum(first, second), torch.minimum(first, second)
    tolerance = 1e-6
    fused = {name: fuse(first, second) for name, fuse in SCORE_FUSIONS.items()}
    assert (fused['complementary'] >= larger - tolerance).all()
    assert (fused['complementary'] <= 1 + tolerance).all()
    assert torch.equal(fused['max'], larger)
    assert (fused['average'] >= smaller - tolerance).all()
    assert (fused['average'] <= larger + tolerance).all()
    for name, fuse in SCORE_FUSIONS.items():
        torch.testing.assert_close(fuse(second, first), fused[name], rtol=0, atol=tolerance)


@quick
@given(probabilities, probability, probability)
def test_fused_score_grows_with_each_score(first, low, high):
    first, low, high = torch.tensor(first), *sorted((low, high))
    for fuse in SCORE_FUSIONS.values():
        lower, higher = (fuse(first, torch.full_like(first, value)) for value in (low, high))
        assert (higher >= lower - 1e-6).all()


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


@quick
@given(
    slopes=st.tuples(*[floats(-2, 2)] * 3),
    corner=st.tuples(*[floats(2, 14)] * 2),
    size=st.tuples(*[floats(0.5, 14)] * 2),
    stride=st.sampled_from([1, 4, 16]),
    sampling_ratio=st.integers(0, 3),
    aligned=st.booleans(),
)
def test_roi_align_reads_a_plane_at_the_centers_of_its_bins(
    slopes, corner, size, stride, sampling_ratio, aligned
):
    constant, across, down = slopes
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing='ij')
    plane = (constant + across * columns + down * rows)[None, None]
    # Without `aligned`, RoIAlign makes no RoI smaller than a pixel of the map.
    width, height = size if aligned else (max(side, 1) for side in size)
    left, top = corner
    roi = torch.tensor([[0, left, top, left + width, top + height]]) * stride
    bins = roi_align(plane, roi, (2, 3), 1 / stride, sampling_ratio, 'avg', aligned)[0, 0]
    shift = 0.5 if aligned else 0
    for row in range(2):
        for column in range(3):
            x = left - shift + width * (column + 0.5) / 3
            y = top - shift + height * (row + 0.5) / 2
            expected = constant + across * x + down * y
            assert bins[row, column].item() == pytest.approx(expected, abs=1e-3)


@pytest.fixture(scope='module')
def conf_head():
    return MODELS.build(
        dict(type='mmdet_detnet.ConfidenceRetinaHead', num_classes=1, in_channels=4)
    )


def decode(anchor, deltas):
    """Restate the box of some deltas: center and size relative to the anchor's."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = (anchor[0] + anchor[2]) / 2 + deltas[0] * width
    y = (anchor[1] + anchor[3]) / 2 + deltas[1] * height
    width, height = width * math.exp(deltas[2]), height * math.exp(deltas[3])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(first, second):
    """Restate intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    inner = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return inner / (sum(areas) - inner)


deltas = st.tuples(*[floats(-1, 1, width=32)] * 4)


@quick
@given(deltas, deltas, st.tuples(st.integers(-50, 50), st.integers(-50, 50)), st.integers(8, 200))
def test_iou_target_is_that_of_the_decoded_boxes(conf_head, predicted, target, corner, size):
    anchor = (*corner, corner[0] + size, corner[1] + size / 2)
    iou = conf_head._iou_with_target(
        *(torch.tensor([e]).float() for e in (predicted, target, anchor))
    )
    expected = overlap(decode(anchor, predicted), decode(anchor, target))
    assert iou.item() == pytest.approx(expected, abs=1e-4)
    if predicted == target:
        assert iou.item() == pytest.approx(1, abs=1e-4)

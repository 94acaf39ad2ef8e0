"""NMS in blocks against the greedy loop, written down."""

from types import SimpleNamespace

import pytest
import torch

from mmdet_detnet.operators import nms as nms_module
from mmdet_detnet.operators import torchvision_kernels
from mmdet_detnet.operators.nms import SOFT_METHODS, nms, nms_match, softnms


@pytest.fixture(autouse=True)
def without_torchvision(monkeypatch):
    monkeypatch.setattr(torchvision_kernels, 'NMS_DEVICES', ())


def iou(one, other, offset=0):
    width = min(one[2], other[2]) - max(one[0], other[0]) + offset
    height = min(one[3], other[3]) - max(one[1], other[1]) + offset
    intersection = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (one, other)]
    return intersection / (sum(areas) - intersection)


def greedy(boxes, scores, threshold, offset=0):
    boxes, kept = boxes.tolist(), []
    # Equal scores come as sorting leaves them, in mmcv too.
    for index in scores.sort(descending=True).indices.tolist():
        if not any(iou(boxes[better], boxes[index], offset) > threshold for better in kept):
            kept.append(index)
    return kept


def draw(num_boxes, seed, classes=1):
    """Draw boxes on a grid and few scores, so that ties are many and no IoU is near 0.45."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 40, (num_boxes, 2), generator=generator)
    corners += 100 * torch.randint(0, classes, (num_boxes, 1), generator=generator)
    sizes = torch.randint(1, 16, (num_boxes, 2), generator=generator)
    scores = torch.randint(0, 50, (num_boxes,), generator=generator) / 50
    return torch.cat([corners, corners + sizes], 1).float(), scores


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize(('num_boxes', 'classes'), [(30, 1), (200, 1), (150, 20)])
@pytest.mark.parametrize('size', [8, 512])
def test_keeps_what_the_greedy_loop_keeps(monkeypatch, num_boxes, classes, size, offset):
    monkeypatch.setattr(nms_module, 'BLOCK_SIZE', size)
    monkeypatch.setattr(nms_module, 'GROUP_SIZE', size)
    for seed in range(5):
        boxes, scores = draw(num_boxes, seed, classes)
        if seed == 4:
            boxes[::7] = float('nan')
        kept = nms(boxes, scores, 0.4501, offset)
        assert kept.tolist() == greedy(boxes, scores, 0.4501, offset)


def test_torchvision_keeps_the_same_of_equal_scores(monkeypatch):
    def last_of_equal_first(boxes, scores, threshold):
        order = len(scores) - 1 - scores.flip(0).sort(descending=True, stable=True).indices
        return order[torch.tensor(greedy(boxes[order], -torch.arange(len(order)), threshold))]

    boxes, scores = draw(200, 0)
    expected = nms(boxes, scores, 0.4501)
    monkeypatch.setattr(torchvision_kernels, 'NMS_DEVICES', ('cpu',))
    monkeypatch.setattr(torchvision_kernels, 'load_torchvision', lambda: True)
    kernels = SimpleNamespace(nms=last_of_equal_first)
    monkeypatch.setattr(torchvision_kernels.torch.ops, 'torchvision', kernels, raising=False)
    assert nms(boxes, scores, 0.4501).tolist() == expected.tolist()


def test_overlap_equal_to_the_threshold_stays():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, 3.0, 1.0]])
    assert len(nms(boxes, torch.tensor([0.9, 0.8]), 0.3)) == 2


def test_no_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert nms_match(torch.zeros(0, 5), 0.5) == []


def test_boxes_without_area_and_with_nans_suppress_nothing():
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0]] * 2 + [[float('nan')] * 4] + [[0.0, 0.0, 2.0, 2.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5).tolist() == [0, 1, 2, 3]


def test_half_precision_is_compared_in_single():
    boxes, scores = draw(100, 0)
    assert nms(boxes.half(), scores, 0.4501).equal(nms(boxes, scores, 0.4501))


def test_matched_boxes_follow_the_best_one_that_they_overlap():
    boxes, scores = draw(80, 0)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4501)
    assert [group[0] for group in groups] == greedy(boxes, scores, 0.4501)
    assert sorted(sum(groups, [])) == list(range(80))
    for number, (best, *others) in enumerate(groups):
        assert others == sorted(others, key=lambda i: -scores[i])
        better = [group[0] for group in groups[:number]]
        for other in others:
            assert iou(boxes[best].tolist(), boxes[other].tolist()) >= 0.4501
            assert all(iou(boxes[b].tolist(), boxes[other].tolist()) < 0.4501 for b in better)


def soft(boxes, scores, method, **changes):
    settings = dict(iou_threshold=0.3, sigma=0.5, min_score=0.05, offset=0) | changes
    dets = torch.full((len(boxes), 5), -1.0)
    kept = softnms(boxes, scores, dets, method=SOFT_METHODS.index(method), **settings)
    return kept.tolist(), dets[: len(kept)]


@pytest.mark.parametrize(
    ('method', 'scores'),
    [
        ('naive', [0.9, 0.7]),
        ('linear', [0.9, 0.7, 0.8 * 0.5]),
        ('gaussian', [0.9, 0.7, 0.8 * 0.60653]),  # exp(-0.5 ** 2 / 0.5)
    ],
)
def test_soft_nms_lowers_the_scores_of_overlapping_boxes(method, scores):
    # The last two overlap by a half; the last with the first by nothing.
    boxes = torch.tensor([[50.0, 0, 60, 10], [0, 0, 10, 10], [0, 0, 10, 5]])
    kept, dets = soft(boxes, torch.tensor([0.7, 0.9, 0.8]), method)
    assert kept == [1, 0, 2][: len(scores)]
    assert dets[:, 4].tolist() == pytest.approx(scores, abs=1e-4)
    assert dets[:, :4].equal(boxes[kept])


def test_soft_nms_drops_boxes_whose_score_falls_too_low():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9.9]])
    assert soft(boxes, torch.tensor([0.9, 0.8]), 'linear')[0] == [0]
    assert soft(torch.zeros(0, 4), torch.zeros(0), 'linear')[0] == []


def restate_soft(boxes, scores, method, iou_threshold=0.3, min_score=0.05):
    """Soft-NMS as mmcv does it: boxes change places, of equal scores the first place wins."""
    left = [[index, *pair] for index, pair in enumerate(zip(boxes, scores, strict=True))]
    place = 0
    while place < len(left):
        best = place
        for other in range(place + 1, len(left)):
            if left[other][-1] > left[best][-1]:  # a NaN stays where it is
                best = other
        left[place], left[best] = left[best], left[place]
        other = place + 1
        while other < len(left):
            overlap = iou(left[place][1], left[other][1])
            if overlap >= iou_threshold:
                left[other][-1] *= 1 - overlap if method == 'linear' else 0
            if left[other][-1] < min_score:
                left[other] = left[-1]
                left.pop()
            else:
                other += 1
        place += 1
    return [box[0] for box in left], [box[-1] for box in left]


@pytest.mark.parametrize('method', ['naive', 'linear'])
@pytest.mark.parametrize('block_size', [4, 128])
def test_soft_nms_of_equal_scores_is_that_of_mmcv(monkeypatch, method, block_size):
    monkeypatch.setattr(nms_module, 'BLOCK_SIZE', block_size)
    for seed in range(5):
        boxes, scores = draw(60, seed)
        if seed == 4:
            scores[::7] = float('nan')
        expected, expected_scores = restate_soft(boxes.tolist(), scores.tolist(), method)
        kept, dets = soft(boxes, scores, method)
        assert kept == expected
        assert dets[:, 4].tolist() == pytest.approx(expected_scores, abs=1e-5, nan_ok=True)

"""RoIAlign by lookups against its definition, sample by sample."""

import math

import pytest
import torch
from mmcv import ops

from mmdet_detnet.operators import roi_align, roi_samples
from mmdet_detnet.operators.roi_align import RoIAlignAverage
from mmdet_detnet.operators.roi_samples import RoIGrid

pytestmark = pytest.mark.usefixtures('on_own_operators')
SCALE = 0.5
SIZE = (2, 3)
# Index of the image and corners in pixels of the image: inside, wide, over each border, covering
# the map, outside, without area.
ROIS = torch.tensor(
    [
        [0, 3, 2, 14, 11],
        [1, 0, 5, 23, 8],
        [1, -6, -6, 5, 5],
        [0, 17, 9, 40, 30],
        [1, -6, -4, 29, 19],
        [0, 300, 300, 340, 340],
        [1, 8, 8, 8, 8],
    ],
    dtype=torch.float64,
)


def sample(plane, y, x):
    """Interpolate by the rule of RoIAlign: beyond one pixel outside the map there is nothing."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.new_zeros(())
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (left + 1 - x) + plane[top, right] * (x - left)
    lower = plane[bottom, left] * (left + 1 - x) + plane[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def positions(start, end, num_bins, sampling_ratio, aligned):
    """Where the samples of each bin are along one axis."""
    shift = 0.5 if aligned else 0.0
    start, end = start * SCALE - shift, end * SCALE - shift
    bin_size = (end - start if aligned else max(end - start, 1)) / num_bins
    count = sampling_ratio or math.ceil(bin_size)
    return [
        [start + (number + (index + 0.5) / count) * bin_size for index in range(count)]
        for number in range(num_bins)
    ]


def average(samples):
    return sum(samples) / max(len(samples), 1) + torch.zeros((), dtype=torch.float64)


def largest(samples):
    return max(samples, default=torch.zeros((), dtype=torch.float64))


def restate(feature_map, sampling_ratio, aligned, reduce):
    """Pool as Mask R-CNN's RoIAlign is defined: loops over RoIs, channels, bins and samples."""
    bins = []
    for image, x1, y1, x2, y2 in ROIS.tolist():
        rows = positions(y1, y2, SIZE[0], sampling_ratio, aligned)
        columns = positions(x1, x2, SIZE[1], sampling_ratio, aligned)
        for plane in feature_map[int(image)]:
            for ys in rows:
                for xs in columns:
                    bins.append(reduce([sample(plane, y, x) for y in ys for x in xs]))
    return torch.stack(bins).view(len(ROIS), -1, *SIZE)


def pool(feature_map, rois, sampling_ratio=0, aligned=True, mode='avg'):
    return ops.roi_align(feature_map, rois, SIZE, SCALE, sampling_ratio, mode, aligned)


@pytest.mark.parametrize(('mode', 'reduce'), [('avg', average), ('max', largest)])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 3])
def test_equals_the_definition(feature_map, sampling_ratio, aligned, mode, reduce):
    expected = restate(feature_map, sampling_ratio, aligned, reduce)
    actual = pool(feature_map, ROIS, sampling_ratio, aligned, mode)
    torch.testing.assert_close(actual, expected)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(output, feature_map, gradient) for output in (actual, expected))
    )


def test_gradcheck_of_what_accelerated_detectors_call(feature_map):
    inputs = feature_map, ROIS, RoIGrid(SIZE, SCALE)
    assert torch.autograd.gradcheck(RoIAlignAverage.apply, inputs, fast_mode=True)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_rois_of_nans_or_that_end_before_they_start_have_zeros(feature_map, sampling_ratio, mode):
    unusable = [[0, *[math.nan] * 4], [math.nan] * 5, [0, 20, 20, 5, 5], [1, 9, 3, 4, 8]]
    rois = torch.cat([ROIS[:1], torch.tensor(unusable).double()])
    pooled = pool(feature_map, rois, sampling_ratio, mode=mode)
    expected = pool(feature_map, rois[:1], sampling_ratio, mode=mode)
    assert pooled[0].equal(expected[0])
    assert not pooled[1:].any()
    ours, theirs = (torch.autograd.grad(each.sum(), feature_map)[0] for each in (pooled, expected))
    assert ours.equal(theirs)


def test_roi_far_larger_than_the_map_needs_no_more_than_the_map():
    ones = torch.ones(1, 1, 7, 12, dtype=torch.float64)
    rois = torch.tensor([[0, -5e4, -5e4, 5e4, 5e4]], dtype=torch.float64)
    # Samples up to one pixel outside count: 14 x 9 of them, of 1e5 x 1e5.
    assert ops.roi_align(ones, rois, 1).item() == pytest.approx(14 * 9 / 1e10)


def test_no_rois(feature_map):
    pooled = pool(feature_map, ROIS[:0])
    assert pooled.shape == (0, 2, *SIZE)
    pooled.sum().backward()
    assert not feature_map.grad.any()


def test_index_of_an_image_that_is_not_there_is_refused(feature_map):
    with pytest.raises(RuntimeError, match='Expected idx'):
        pool(feature_map, torch.tensor([[2.0, 3, 2, 14, 11]]).double())


def test_chunks_give_the_same(monkeypatch, feature_map):
    expected = pool(feature_map, ROIS)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), feature_map)
    for module in (roi_align, roi_samples):
        monkeypatch.setattr(module, 'CHUNK_SIZE', 1)
    actual = pool(feature_map, ROIS)
    torch.testing.assert_close(actual, expected)
    (gradient,) = torch.autograd.grad(actual.sum(), feature_map)
    torch.testing.assert_close(gradient, expected_gradient)


def test_gradient_of_rois_of_all_sizes_is_one_sum(monkeypatch, feature_map):
    pooled = pool(feature_map, ROIS)
    sums = []
    original = torch.nn.functional.embedding_bag
    monkeypatch.setattr(
        roi_align.F, 'embedding_bag', lambda *args, **kw: sums.append(1) or original(*args, **kw)
    )
    pooled.sum().backward()
    # A sum for each size would go through the whole map as often.
    assert len(sums) == 1

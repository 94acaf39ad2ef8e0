"""RoIAlign by lookups against its definition, sample by sample."""

import math

import pytest
import torch

from mmdet_detnet.operators import roi_align, roi_samples
from mmdet_detnet.operators.roi_align import (
    RoIAlignAverage,
    average_backward,
    average_forward,
    roi_align_backward,
    roi_align_forward,
)
from mmdet_detnet.operators.roi_samples import RoIGrid

SCALE = 0.5
# Index of the image and corners in pixels of the image: inside, wide, over each border, covering
# the map, outside, without area.
ROIS = [
    [0, 3, 2, 14, 11],
    [1, 0, 5, 23, 8],
    [1, -6, -6, 5, 5],
    [0, 17, 9, 40, 30],
    [1, -6, -4, 29, 19],
    [0, 300, 300, 340, 340],
    [1, 8, 8, 8, 8],
]


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


def restate(feature_map, rois, grid, reduce):
    """Pool as Mask R-CNN's RoIAlign is defined: loops over RoIs, bins and samples."""
    bins = [
        [
            [
                reduce([sample(plane, y, x) for y in rows for x in columns])
                for rows in positions(roi[2], roi[4], grid, 0)
                for columns in positions(roi[1], roi[3], grid, 1)
            ]
            for plane in feature_map[int(roi[0])]
        ]
        for roi in rois
    ]
    pooled = torch.stack([torch.stack([torch.stack(c) for c in roi]) for roi in bins])
    return pooled.view(len(rois), -1, *grid.output_size)


def positions(start, end, grid, axis):
    """Where the samples of each bin are along one axis."""
    shift = 0.5 if grid.aligned else 0.0
    start, end = start * grid.spatial_scale - shift, end * grid.spatial_scale - shift
    size = end - start if grid.aligned else max(end - start, 1)
    bin_size = size / grid.output_size[axis]
    count = grid.sampling_ratio or math.ceil(bin_size)
    return [
        [start + (number + (index + 0.5) / count) * bin_size for index in range(count)]
        for number in range(grid.output_size[axis])
    ]


def average(samples):
    return sum(samples) / max(len(samples), 1) + torch.zeros((), dtype=torch.float64)


def largest(samples):
    return max(samples, default=torch.zeros((), dtype=torch.float64))


@pytest.fixture
def feature_map():
    torch.manual_seed(0)
    return torch.randn(2, 2, 7, 12, dtype=torch.float64)


def run(feature_map, rois, grid, pool_mode, gradient=None):
    """Call both functions as mmcv does."""
    output = feature_map.new_zeros(len(rois), feature_map.shape[1], *grid.output_size)
    argmax = [torch.zeros_like(output) for _ in range(2)]
    settings = dict(
        aligned_height=grid.output_size[0],
        aligned_width=grid.output_size[1],
        spatial_scale=grid.spatial_scale,
        sampling_ratio=grid.sampling_ratio,
        pool_mode=pool_mode,
        aligned=grid.aligned,
    )
    roi_align_forward(feature_map, rois, output, *argmax, **settings)
    gradient = torch.ones_like(output) if gradient is None else gradient
    grad_input = torch.zeros_like(feature_map)
    roi_align_backward(gradient, rois, *argmax, grad_input, **settings)
    return output, grad_input


@pytest.mark.parametrize(('pool_mode', 'reduce'), [(1, average), (0, largest)])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 3])
def test_equals_the_definition(feature_map, sampling_ratio, aligned, pool_mode, reduce):
    grid = RoIGrid((2, 3), SCALE, sampling_ratio, aligned)
    feature_map.requires_grad_()
    expected = restate(feature_map, ROIS, grid, reduce)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    output, grad_input = run(feature_map.detach(), rois, grid, pool_mode, gradient)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(grad_input, feature_map.grad)


def test_gradcheck(feature_map):
    rois = torch.tensor(ROIS, dtype=torch.float64)
    grid = RoIGrid((2, 3), SCALE)
    feature_map.requires_grad_()
    assert torch.autograd.gradcheck(
        RoIAlignAverage.apply, (feature_map, rois, grid), fast_mode=True
    )


def test_roi_with_nans_has_features_and_gradients_of_zero(feature_map):
    rois = torch.tensor([ROIS[0], [0, *[math.nan] * 4], [math.nan] * 5], dtype=torch.float64)
    for pool_mode in (0, 1):
        pooled, gradient = run(feature_map, rois, RoIGrid((2, 2), SCALE), pool_mode)
        expected, expected_gradient = run(feature_map, rois[:1], RoIGrid((2, 2), SCALE), pool_mode)
        assert not pooled[1:].any()
        assert pooled[0].equal(expected[0])
        assert gradient.equal(expected_gradient)


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('pool_mode', [0, 1])
def test_roi_that_ends_before_it_starts_has_features_of_zero(
    feature_map, pool_mode, sampling_ratio
):
    rois = torch.tensor([ROIS[0], [0, 20, 20, 5, 5], [1, 9, 3, 4, 8]], dtype=torch.float64)
    grid = RoIGrid((2, 2), SCALE, sampling_ratio)
    pooled, gradient = run(feature_map, rois, grid, pool_mode)
    expected, expected_gradient = run(feature_map, rois[:1], grid, pool_mode)
    assert not pooled[1:].any()
    assert pooled[0].equal(expected[0])
    assert gradient.equal(expected_gradient)


def test_no_rois(feature_map):
    for pool_mode in (0, 1):
        pooled, gradient = run(feature_map, torch.zeros(0, 5).double(), RoIGrid((2, 3)), pool_mode)
        assert pooled.shape == (0, 2, 2, 3)
        assert not gradient.any()


def test_index_of_an_image_that_is_not_there_is_refused(feature_map):
    rois = torch.tensor([[2, 3, 2, 14, 11]], dtype=torch.float64)
    with pytest.raises(RuntimeError, match='Expected idx'):
        average_forward(feature_map, rois, RoIGrid((2, 2), SCALE))


def test_chunks_give_the_same(monkeypatch, feature_map):
    rois = torch.tensor(ROIS, dtype=torch.float64)
    for pool_mode in (0, 1):
        expected = run(feature_map, rois, RoIGrid((2, 2), SCALE), pool_mode)
        for module in (roi_align, roi_samples):
            monkeypatch.setattr(module, 'CHUNK_SIZE', 1)
        actual = run(feature_map, rois, RoIGrid((2, 2), SCALE), pool_mode)
        torch.testing.assert_close(actual, expected)


def test_gradient_of_rois_of_all_sizes_is_one_sum(monkeypatch, feature_map):
    sums = []
    original = torch.nn.functional.embedding_bag
    monkeypatch.setattr(
        roi_align.F, 'embedding_bag', lambda *args, **kw: sums.append(1) or original(*args, **kw)
    )
    grid = RoIGrid((2, 2), SCALE)
    gradient = torch.ones(len(ROIS), feature_map.shape[1], 2, 2)
    average_backward(gradient, torch.tensor(ROIS, dtype=torch.float32), grid, feature_map.shape)
    # A sum for each size would go through the whole map as often.
    assert len(sums) == 1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_maps_are_pooled_in_float32(feature_map, dtype):
    rois = torch.tensor(ROIS, dtype=dtype)
    rounded = feature_map.to(dtype)
    expected, _ = run(rounded.float(), rois.float(), RoIGrid((2, 2), SCALE), 1)
    actual, gradient = run(rounded, rois, RoIGrid((2, 2), SCALE), 1)
    assert actual.equal(expected.to(dtype))
    assert gradient.dtype == dtype

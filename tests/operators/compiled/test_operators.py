"""Our operators against mmcv's compiled ones, those that it has on the CPU."""

import pytest
import torch
from mmcv import ops

from mmdet_detnet.benchmark.operators import use_own_operators
from mmdet_detnet.host import has_compiled_operators

pytestmark = pytest.mark.skipif(
    not has_compiled_operators(), reason='mmcv has no compiled operators to compare with'
)
FORWARD = dict(rtol=1e-5, atol=1e-5)
BACKWARD = dict(rtol=1e-4, atol=1e-4)


@pytest.fixture
def assert_same():
    """Run an operator on both implementations; outputs and gradients have to agree."""

    def run(operator, inputs):
        inputs = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs]
        output = operator(*inputs)
        torch.manual_seed(0)
        output.backward(torch.randn_like(output))
        return output, [tensor.grad for tensor in inputs if tensor.requires_grad]

    def check(operator, *inputs):
        expected, expected_gradients = run(operator, inputs)
        with use_own_operators():
            actual, gradients = run(operator, inputs)
        torch.testing.assert_close(actual, expected, **FORWARD)
        for ours, compiled in zip(gradients, expected_gradients, strict=True):
            scale = max(1.0, compiled.abs().max().item())
            torch.testing.assert_close(ours / scale, compiled / scale, **BACKWARD)

    return check


def draw_boxes(seed):
    """Draw boxes: on a grid or not, spread over classes or not, with ties or not."""
    torch.manual_seed(seed)
    num_boxes = int(torch.randint(1, 1200, ()))
    corners = torch.rand(num_boxes, 2) * 100 * (1 + seed % 5)
    boxes = torch.cat([corners, corners + torch.rand(num_boxes, 2) * 60], dim=1)
    scores = torch.rand(num_boxes)
    if seed % 3 == 0:
        boxes, scores = boxes.round(), (scores * 20).round() / 20
    if seed % 4 == 0:
        boxes += torch.randint(0, 5, (num_boxes, 1)) * 1000
    return boxes, scores


@pytest.mark.parametrize('start', range(0, 200, 50))
def test_nms_keeps_the_same_boxes(start):
    for seed in range(start, start + 50):
        boxes, scores = draw_boxes(seed)
        for threshold, offset in ((0.3, 0), (0.5, 1), (0.7, 0)):
            expected = ops.nms(boxes, scores, threshold, offset)
            with use_own_operators():
                actual = ops.nms(boxes, scores, threshold, offset)
            assert actual[1].equal(expected[1]), (seed, threshold, offset)
            assert actual[0].equal(expected[0])


def test_nms_match_makes_the_same_groups():
    for seed in range(20):
        boxes, scores = draw_boxes(seed)
        boxes = torch.cat([boxes, scores[:, None]], dim=1)
        expected = ops.nms_match(boxes, 0.5)
        with use_own_operators():
            actual = ops.nms_match(boxes, 0.5)
        assert [group.tolist() for group in actual] == [group.tolist() for group in expected]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_gives_the_same_scores(method, offset):
    for seed in range(8):
        boxes, scores = draw_boxes(seed)
        expected = ops.soft_nms(boxes, scores, method=method, offset=offset)
        with use_own_operators():
            actual = ops.soft_nms(boxes, scores, method=method, offset=offset)
        assert actual[1].equal(expected[1])
        # The Gaussian method makes NaN of two boxes without area.
        torch.testing.assert_close(actual[0], expected[0], equal_nan=True, **FORWARD)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('size', [7, (3, 5), 14])
def test_roi_align(assert_same, size, pool_mode, sampling_ratio, aligned):
    for seed in range(3):
        torch.manual_seed(seed)
        height, width = torch.randint(5, 50, (2,)).tolist()
        extent = torch.tensor([width, height])
        starts = torch.rand(40, 2) * extent * 4.4 - 10
        ends = starts + torch.rand(40, 2) ** 2 * extent * 4 + 1
        rois = torch.cat([torch.randint(0, 2, (40, 1)), starts, ends], dim=1)
        feature_map = torch.randn(2, 6, height, width, requires_grad=True)
        layer = ops.RoIAlign(size, 0.25, sampling_ratio, pool_mode, aligned)
        assert_same(layer, feature_map, rois)


# Kernel size, stride, padding, dilation, groups, deformable groups.
GEOMETRIES = [(3, 1, 1, 1, 1, 1), (3, 2, 1, 1, 2, 4), (3, 1, 2, 2, 1, 2), (1, 1, 0, 1, 4, 1)]


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('modulated', [False, True])
def test_deform_conv(assert_same, geometry, modulated):
    kernel, *rest, deform_groups = geometry
    torch.manual_seed(0)
    images = torch.randn(3, 8, 11, 14)
    weight = torch.randn(12, 8 // rest[3], kernel, kernel)
    size = torch.conv2d(images, weight, None, *rest).shape[2:]
    offset = 2 * torch.randn(3, deform_groups * kernel**2 * 2, *size)
    mask = torch.rand(3, deform_groups * kernel**2, *size)
    inputs = [tensor.requires_grad_() for tensor in (images, offset, mask, weight)]
    if modulated:
        bias = torch.randn(12, requires_grad=True)
        assert_same(
            lambda *args: ops.modulated_deform_conv2d(*args, *rest, deform_groups), *inputs, bias
        )
    else:
        del inputs[2]
        assert_same(lambda *args: ops.deform_conv2d(*args, *rest, deform_groups), *inputs)

"""torchvision's kernels behind mmcv's operators against ours; on the CPU, where both run."""

import math

import pytest
import torch
from mmcv import ops

from mmdet_detnet.host import load_torchvision
from mmdet_detnet.operators import torchvision_kernels

pytestmark = [
    pytest.mark.usefixtures('on_own_operators'),
    pytest.mark.skipif(load_torchvision() is None, reason='no torchvision that fits torch'),
]
ROIS = [
    [0, 3, 2, 14, 11],
    [1, -6, -4, 29, 19],
    [0, 17, 9, 40, 30],
    [0, 300, 300, 340, 340],
    [1, 8, 8, 8, 8],
    [0, 20, 20, 5, 5],
    [0, *[math.nan] * 4],
    [math.nan] * 5,
    [0, 0, 0, math.inf, 8],
]


@pytest.fixture
def run_on_both(monkeypatch):
    """Run an operator on our code and on torchvision's; return outputs and gradients of both."""

    def run(operator, inputs):
        inputs = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs]
        output = operator(*inputs)
        torch.manual_seed(1)
        output.backward(torch.randn_like(output))
        return [output.detach(), *(tensor.grad for tensor in inputs if tensor.requires_grad)]

    def check(operator, *inputs, **tolerance):
        expected = run(operator, inputs)
        monkeypatch.setattr(torchvision_kernels, 'DEVICES', ('cpu',))
        actual = run(operator, inputs)
        monkeypatch.undo()
        for theirs, ours in zip(actual, expected, strict=True):
            torch.testing.assert_close(theirs, ours, **tolerance)

    return check


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_roi_align(run_on_both, dtype, sampling_ratio, aligned):
    torch.manual_seed(0)
    feature_map = torch.randn(2, 3, 12, 15, dtype=dtype, requires_grad=True)
    layer = ops.RoIAlign((3, 2), 0.5, sampling_ratio, 'avg', aligned)
    tolerance = dict(rtol=2e-2, atol=2e-2) if dtype == torch.bfloat16 else {}
    run_on_both(layer, feature_map, torch.tensor(ROIS, dtype=dtype), **tolerance)


def draw_convolution(groups=1, deform_groups=1, stride=1, larger=0):
    """Make images, offsets, masks and weights for a kernel of 3 with a padding of 1."""
    torch.manual_seed(0)
    images, weight = torch.randn(2, 4, 7, 9).double(), torch.randn(2, 4 // groups, 3, 3).double()
    size = [(extent - 1) // stride + 1 + larger for extent in (7, 9)]
    offset = torch.randn(2, deform_groups * 18, *size).double()
    mask = torch.rand(2, deform_groups * 9, *size).double()
    return [tensor.requires_grad_() for tensor in (images, offset, mask, weight)]


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize(('groups', 'deform_groups', 'stride'), [(1, 1, 1), (2, 2, 2), (1, 4, 1)])
def test_deformable_convolution(run_on_both, groups, deform_groups, stride, modulated):
    images, offset, mask, weight = draw_convolution(groups, deform_groups, stride)
    geometry = (stride, 1, 1, groups, deform_groups)
    if modulated:
        bias = torch.ones(2, dtype=torch.float64, requires_grad=True)
        run_on_both(
            lambda *inputs: ops.modulated_deform_conv2d(*inputs, *geometry),
            *(images, offset, mask, weight, bias),
        )
    else:
        run_on_both(lambda *inputs: ops.deform_conv2d(*inputs, *geometry), images, offset, weight)


@pytest.mark.parametrize('value', [0.0, -1.0, 3.0, math.nan, math.inf, -math.inf])
def test_offsets_of_whole_pixels_and_no_numbers(run_on_both, value):
    images, offset, mask, weight = draw_convolution()
    offset = torch.full_like(offset, value).requires_grad_()
    run_on_both(
        lambda *inputs: ops.modulated_deform_conv2d(*inputs, None, 1, 1),
        *(images, offset, mask, weight),
    )


def test_larger_map_of_offsets(run_on_both):
    run_on_both(
        lambda *inputs: ops.modulated_deform_conv2d(*inputs, None, 1, 1),
        *draw_convolution(larger=5),
    )


def test_backward_is_ours_where_torch_is_to_be_deterministic(monkeypatch):
    monkeypatch.setattr(torchvision_kernels, 'DEVICES', ('cpu',))
    assert torchvision_kernels.serve(torch.zeros(1), backward=True)
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    assert torchvision_kernels.serve(torch.zeros(1))
    assert not torchvision_kernels.serve(torch.zeros(1), backward=True)


@pytest.mark.parametrize('seed', range(2))
def test_nms_keeps_the_same_boxes(monkeypatch, seed):
    torch.manual_seed(seed)
    corners = torch.randint(0, 60, (400, 2))
    boxes = torch.cat([corners, corners + torch.randint(0, 16, (400, 2))], 1).float()
    boxes[::50] = math.nan
    scores = torch.randint(0, 50, (400,)) / 50
    for threshold in (0.3, 0.5):
        with_torchvision = ops.nms(boxes, scores, threshold)[1]
        with monkeypatch.context() as patch:
            patch.setattr(torchvision_kernels, 'load_torchvision', lambda: None)
            assert ops.nms(boxes, scores, threshold)[1].tolist() == with_torchvision.tolist()

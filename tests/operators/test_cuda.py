"""On a GPU, the operators give what they give on the CPU, in any precision; as do mmcv's."""

import pytest
import torch
from mmcv import ops

from mmdet_detnet.benchmark.operators import use_own_operators
from mmdet_detnet.host import has_compiled_operators
from mmdet_detnet.operators import torchvision_kernels

pytestmark = pytest.mark.cuda
DEVICE = 'cuda'
# Relative to the largest value. Low precision is computed in float32, and may round another way.
TOLERANCES = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 4e-3,
    torch.bfloat16: 6e-2,
}


def make_cases(inside=False):
    """Operators and float64 inputs; gradients of those that require them are compared, too.

    Some RoIs are outside of the map or have no area, unless all shall be ``inside``.
    """
    torch.manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    corners = torch.rand(12, 2) * 20 + 16
    sizes = 8 + 30 * torch.rand(12, 2)
    if not inside:
        corners, sizes = 3 * corners - 48, sizes - 16
    rois = torch.cat([torch.arange(12)[:, None] % 2, corners, corners + sizes], 1)
    rois = rois.round().double()  # the same in every precision
    feature_map, images, weight = draw(2, 6, 20, 24), draw(2, 8, 9, 11), draw(12, 8, 3, 3)
    offset, mask = draw(2, 18, 9, 11), draw(2, 9, 9, 11)
    logits, labels = draw(30, 5), torch.arange(30) % 6  # 5 is background
    shapes = torch.tensor([[4, 5], [2, 3]])
    places = torch.rand(2, 3, 2, 2, 4, 2, dtype=torch.float64).requires_grad_()
    return {
        'roi_align': (ops.RoIAlign(7, 0.25, 0), feature_map, rois),
        'roi_align of maxima': (ops.RoIAlign((3, 5), 0.25, 2, 'max'), feature_map, rois),
        'roi_pool': (ops.RoIPool(4, 0.25), feature_map, rois),
        'deform_conv': (
            lambda *inputs: ops.deform_conv2d(*inputs, 1, 1),
            *(images, offset, weight),
        ),
        'modulated_deform_conv': (
            lambda *inputs: ops.modulated_deform_conv2d(*inputs, None, 1, 1),
            *(images, offset, mask, weight),
        ),
        'deform_roi_pool': (ops.DeformRoIPool(3, 0.25, 2), feature_map, rois, draw(12, 2, 3, 3)),
        'sigmoid_focal_loss': (
            lambda x, y: ops.sigmoid_focal_loss(x, y, 2.0, 0.25, None, 'none'),
            *(logits, labels),
        ),
        'softmax_focal_loss': (
            lambda x, y: ops.softmax_focal_loss(x, y, 2.0, 0.25, None, 'sum'),
            *(logits, labels % 5),
        ),
        'carafe': (lambda x, y: ops.carafe(x, y, 3, 1, 2), images, draw(2, 9, 18, 22)),
        'ms_deform_attn': (
            lambda *x: ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction.apply(*x, 64),
            *(draw(2, 26, 2, 4), shapes, torch.tensor([0, 20]), places, draw(2, 3, 2, 2, 4)),
        ),
    }


CASES = list(make_cases())
# Those that mmcv has in both precisions, and with the same definition.
COMPILED = [name for name in CASES if name not in ('carafe', 'ms_deform_attn')]


def run(operator, inputs):
    """Return output and gradients in float64 on the CPU."""
    output = operator(*inputs)
    output.backward(torch.linspace(-1, 1, output.numel()).view(output.shape).to(output))
    gradients = [tensor.grad for tensor in inputs if tensor.requires_grad]
    return [tensor.detach().double().cpu() for tensor in (output, *gradients)]


def copy(inputs, dtype, device):
    """Round the real inputs to a precision, and copy all to a device in it."""
    return [
        tensor.detach()
        .to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        .requires_grad_(tensor.requires_grad)
        for tensor in inputs
    ]


def assert_near(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        scale = other.abs().max().clamp(min=1e-6)
        torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize('dtype', TOLERANCES, ids=str)
@pytest.mark.parametrize('name', CASES)
def test_a_gpu_gives_what_the_cpu_gives(name, dtype):
    operator, *inputs = make_cases()[name]
    with use_own_operators():
        expected = run(operator, copy(inputs, dtype, 'cpu'))
        actual = run(operator, copy(inputs, dtype, DEVICE))
    assert_near(actual, expected, TOLERANCES[dtype])


@pytest.mark.skipif(not has_compiled_operators(), reason='mmcv has no compiled operators')
@pytest.mark.parametrize('name', COMPILED)
def test_mmcv_gives_the_same_on_a_gpu(name):
    operator, *inputs = make_cases(inside=True)[name]
    expected = run(operator, copy(inputs, torch.float32, DEVICE))
    with use_own_operators():
        actual = run(operator, copy(inputs, torch.float32, DEVICE))
    assert_near(actual, expected, 1e-4)


def draw_boxes(seed):
    torch.manual_seed(seed)
    corners = torch.rand(1500, 2) * 200
    return torch.cat([corners, corners + torch.rand(1500, 2) * 60], dim=1), torch.rand(1500)


@pytest.mark.parametrize('with_torchvision', [False, True])
@pytest.mark.parametrize('seed', range(5))
def test_nms_keeps_the_same_boxes(monkeypatch, seed, with_torchvision):
    boxes, scores = draw_boxes(seed)
    with use_own_operators():
        expected = ops.nms(boxes, scores, 0.5)
        if not with_torchvision:
            monkeypatch.setattr(torchvision_kernels, 'NMS_DEVICES', ())
        actual = ops.nms(boxes.to(DEVICE), scores.to(DEVICE), 0.5)
    assert actual[1].device.type == DEVICE
    assert actual[1].tolist() == expected[1].tolist()


def test_batched_nms_and_soft_nms_keep_the_same_boxes():
    boxes, scores = draw_boxes(0)
    classes = torch.arange(len(boxes)) % 3
    for settings in (dict(type='nms'), dict(type='soft_nms', min_score=0.05)):
        settings['iou_threshold'] = 0.5
        with use_own_operators():
            expected = ops.batched_nms(boxes, scores, classes, settings)
            actual = ops.batched_nms(
                boxes.to(DEVICE), scores.to(DEVICE), classes.to(DEVICE), settings
            )
        assert actual[1].tolist() == expected[1].tolist()
        torch.testing.assert_close(actual[0].cpu(), expected[0])


def test_nms_match_makes_the_same_groups():
    boxes, scores = draw_boxes(0)
    boxes = torch.cat([boxes, scores[:, None]], dim=1)
    with use_own_operators():
        expected, actual = ops.nms_match(boxes, 0.5), ops.nms_match(boxes.to(DEVICE), 0.5)
    assert [group.tolist() for group in actual] == [group.tolist() for group in expected]

"""Ours on a GPU, torchvision's and mmcv's compiled operators give what ours give on the CPU."""

import math
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from mmcv import ops

from mmdet_detnet.benchmark.operators import use_own_operators
from mmdet_detnet.host import has_compiled_operators, load_torchvision
from mmdet_detnet.operators import torchvision_kernels

# Relative to the largest value. Low precision is computed in float32, and may round another way.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 6e-2}
MISSING = {
    'mmcv': not has_compiled_operators() and 'mmcv has no compiled operators',
    'torchvision': load_torchvision() is None and 'no torchvision that fits torch',
    'ours': False,
}
# What mmcv has on a device, in both directions and with the same definition.
OF_MMCV = {'cpu': ('roi_align', 'deform_conv', 'modulated')}
OF_MMCV['cuda'] = (*OF_MMCV['cpu'], 'deform_roi_pool', 'sigmoid_focal_loss')
# Kernel, stride, padding, dilation, groups, deformable groups.
GEOMETRIES = [(3, 1, 1, 1, 1, 1), (3, 2, 1, 1, 2, 4), (3, 1, 2, 2, 1, 2), (1, 1, 0, 1, 4, 1)]


def on(kind, device, *values):
    """Make the parameters of a test, with the marks that skip it where it cannot run."""
    marks = [pytest.mark.skipif(bool(MISSING[kind]), reason=str(MISSING[kind]))]
    return pytest.param(
        kind, device, *values, marks=marks + [pytest.mark.cuda] * (device == 'cuda')
    )


def using(kind, device):
    if kind == 'mmcv':
        return nullcontext()
    return use_own_operators((device,) if kind == 'torchvision' else ())


def convolve(geometry, *inputs):
    return ops.deform_conv2d(*inputs, *geometry)


def modulate(geometry, *inputs):
    return ops.modulated_deform_conv2d(*inputs, *geometry)


def make_cases(valid):
    """Operators and float64 inputs; gradients of those that require them are compared, too.

    Unless all shall be ``valid``, some RoIs have no area, and RoIs and offsets are no numbers.
    """
    torch.manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    corners, sizes = 60 * torch.rand(40, 2), 8 + 30 * torch.rand(40, 2)
    inside = torch.cat([torch.arange(40)[:, None] % 2, corners, corners + sizes], 1)
    inside = inside.round().double()  # the same in every precision
    rois = inside - torch.tensor([0.0, 48, 48, 48 + 16 * (not valid), 48])
    if not valid:
        rois[::9, 1:], rois[5], rois[6, 4] = math.nan, math.nan, math.inf
    feature_map, images, logits = draw(2, 6, 20, 24), draw(2, 8, 9, 11), draw(30, 5)
    cases = {
        f'roi_align {grid}': (ops.RoIAlign(*grid[:3], 'avg', grid[3]), feature_map, rois)
        for grid in ((7, 0.25, 0, True), ((3, 5), 0.25, 2, True), (14, 0.25, 0, False))
    }
    cases['roi_align of maxima'] = ops.RoIAlign((3, 5), 0.25, 2, 'max'), feature_map, rois
    for kernel, *rest, deform_groups in GEOMETRIES:
        weight, bias = draw(12, 8 // rest[3], kernel, kernel), draw(12)
        size = torch.conv2d(images, weight, None, *rest).shape[2:]
        offset = draw(2, deform_groups * kernel**2 * 2, *size)
        mask = draw(2, deform_groups * kernel**2, *size)
        geometry = (*rest, deform_groups)
        cases[f'deform_conv {geometry}'] = partial(convolve, geometry), images, offset, weight
        inputs = images, offset, mask, weight, bias
        cases[f'modulated_deform_conv {geometry}'] = partial(modulate, geometry), *inputs
    weight, larger = draw(12, 8, 3, 3), (draw(2, 18, 14, 16), draw(2, 9, 14, 16))
    inputs = images, *larger, weight, bias
    cases['modulated_deform_conv of larger maps'] = partial(modulate, (1, 1)), *inputs
    for value in (0.0, -1.0, 3.0, math.nan, math.inf, -math.inf)[: 1 if valid else None]:
        offset = torch.full((2, 18, 9, 11), value, dtype=torch.float64).requires_grad_()
        inputs = images, offset, weight
        cases[f'deform_conv with offsets of {value}'] = partial(convolve, (1, 1)), *inputs
    cases['deform_roi_pool'] = (
        *(ops.DeformRoIPool(3, 0.25, 2), feature_map),
        *(inside if valid else rois, draw(40, 2, 3, 3)),
    )
    cases['sigmoid_focal_loss'] = (
        lambda x, y: ops.sigmoid_focal_loss(x, y, 2.0, 0.25, None, 'none'),
        *(logits, torch.arange(30) % 6),  # 5 is background
    )
    cases['carafe'] = lambda x, y: ops.carafe(x, y, 3, 1, 2), images, draw(2, 9, 18, 22)
    places = torch.rand(2, 3, 2, 2, 4, 2, dtype=torch.float64).requires_grad_()
    cases['ms_deform_attn'] = (
        lambda *x: ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction.apply(*x, 64),
        *(draw(2, 26, 2, 4), torch.tensor([[4, 5], [2, 3]]), torch.tensor([0, 20]), places),
        draw(2, 3, 2, 2, 4),
    )
    return cases


def run(operator, inputs, dtype, device):
    """Return output and gradients in float64 on the CPU, of inputs rounded to a precision."""
    inputs = [
        tensor.detach()
        .to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        .requires_grad_(tensor.requires_grad)
        for tensor in inputs
    ]
    output = operator(*inputs)
    # Powers of two, by which mmcv multiplies without rounding.
    output.backward((2.0 ** (torch.arange(output.numel()) % 10)).view(output.shape).to(output))
    gradients = [tensor.grad for tensor in inputs if tensor.requires_grad]
    return [tensor.detach().double().cpu() for tensor in (output, *gradients)]


@pytest.mark.parametrize(
    ('kind', 'device', 'dtype'),
    [
        *(on('ours', 'cuda', dtype) for dtype in TOLERANCES),
        *(on('torchvision', 'cuda', dtype) for dtype in TOLERANCES),
        *(on('torchvision', 'cpu', dtype) for dtype in (torch.float64, torch.bfloat16)),
        *(on('mmcv', device, torch.float32) for device in ('cpu', 'cuda')),
    ],
)
def test_outputs_and_gradients(kind, device, dtype):
    for name, (operator, *inputs) in make_cases(valid=kind == 'mmcv').items():
        if kind == 'mmcv' and not name.startswith(OF_MMCV[device]):
            continue
        with use_own_operators():
            expected = run(operator, inputs, dtype, 'cpu')
        with using(kind, device):
            actual = run(operator, inputs, dtype, device)
        for ours, theirs in zip(expected, actual, strict=True):
            difference = (theirs - ours).abs().max() / ours.abs().max().clamp(min=1e-6)
            assert difference <= TOLERANCES[dtype], name


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32_and_rounded_once(dtype):
    cases = make_cases(valid=True)
    cases['roi_pool'] = ops.RoIPool(3, 0.25), *cases['deform_roi_pool'][1:3]
    for name, (operator, *inputs) in cases.items():
        inputs = [x.detach().to(dtype).requires_grad_() if x.requires_grad else x for x in inputs]
        with use_own_operators():
            exact = run(operator, inputs, torch.float32, 'cpu')
            with torch.autocast('cpu', torch.bfloat16):
                actual = run(operator, inputs, dtype, 'cpu')
        # The places of maxima, which mmcv keeps for the backward pass, are rounded, too.
        for ours, wide in zip(actual, exact[: 1 if 'maxima' in name else None], strict=False):
            assert ours.equal(wide.to(dtype).double()), name


def draw_boxes(seed, ties):
    """Draw boxes: on a grid or not, spread over classes or not, with ties or not."""
    torch.manual_seed(seed)
    number = int(torch.randint(1, 1200, ()))
    corners = torch.rand(number, 2) * 100 * (1 + seed % 5)
    boxes, scores = (
        torch.cat([corners, corners + torch.rand(number, 2) * 60], 1),
        torch.rand(number),
    )
    if ties and seed % 3 == 0:
        boxes, scores = boxes.round(), (scores * 20).round() / 20
    if seed % 4 == 0:
        boxes += torch.randint(0, 5, (number, 1)) * 1000
    return boxes, scores


def match(boxes, scores):
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.5)
    return [group.tolist() for group in groups]


@pytest.mark.parametrize(
    ('kind', 'device', 'seeds'),
    [
        *(on(kind, 'cuda', 5) for kind in ('ours', 'torchvision')),
        *(on('torchvision', 'cpu', 5), on('mmcv', 'cpu', 100)),
    ],
)
def test_nms_and_its_groups(kind, device, seeds):
    for seed in range(seeds):
        boxes, scores = draw_boxes(seed, ties=device == 'cpu')
        if kind == 'torchvision':
            boxes[::50] = math.nan
        for threshold, offset in ((0.3, 0), (0.5, 1), (0.7, 0)):
            with use_own_operators():
                expected = ops.nms(boxes, scores, threshold, offset)[1]
            with using(kind, device):
                kept = ops.nms(boxes.to(device), scores.to(device), threshold, offset)[1]
            assert kept.tolist() == expected.tolist(), (seed, threshold, offset)
        if kind != 'torchvision':
            with use_own_operators():
                expected = match(boxes, scores)
            with using(kind, device):
                assert match(boxes.to(device), scores.to(device)) == expected


@pytest.mark.parametrize(('kind', 'device'), [on('mmcv', 'cpu'), on('ours', 'cuda')])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms(kind, device, method, offset):
    for seed in range(8):
        boxes, scores = draw_boxes(seed, ties=True)
        with use_own_operators():
            dets, kept = ops.soft_nms(boxes, scores, method=method, offset=offset)
        with using(kind, device):
            theirs, theirs_kept = ops.soft_nms(
                boxes.to(device), scores.to(device), method=method, offset=offset
            )
        assert theirs_kept.tolist() == kept.tolist()
        # The Gaussian method makes NaN of two boxes without area.
        torch.testing.assert_close(theirs.cpu(), dets, equal_nan=True, rtol=1e-5, atol=1e-5)


def test_backward_is_ours_where_torch_is_to_be_deterministic(monkeypatch):
    monkeypatch.setattr(torchvision_kernels, 'DEVICES', ('cpu',))
    monkeypatch.setattr(torchvision_kernels, 'load_torchvision', lambda: True)
    assert torchvision_kernels.serve(torch.zeros(1), backward=True)
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    assert torchvision_kernels.serve(torch.zeros(1))
    assert not torchvision_kernels.serve(torch.zeros(1), backward=True)

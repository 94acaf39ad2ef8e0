"""Time mmcv's operators in PyTorch, of torchvision and compiled, in turn: alone, in detectors."""

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from importlib.machinery import ModuleSpec
from unittest.mock import patch

import torch
from mmcv import ops
from torch import Tensor

from mmdet_detnet.host import OperatorFinder, has_compiled_operators, load_torchvision
from mmdet_detnet.operators import torchvision_kernels

from .comparisons import Entry, Workload
from .measurement import time_in_turn
from .timed_networks import TimedDetector

DETECTORS = {
    'demo/faster-rcnn_detnet59-slim_fpn_shapes.py': Workload(height=160, width=160, batch=8),
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': Workload(),
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py': Workload(),
}

Case = tuple[Callable[..., Tensor], tuple[Tensor, ...]]
# Operator or detector, pass, and the median seconds of each implementation.
Timings = Iterator[tuple[str, str, dict[str, float]]]


@contextmanager
def use_own_operators(torchvision_devices: tuple[str, ...] = ()) -> Iterator[None]:
    """Make ``mmcv.ops`` call this package's functions even if it has compiled ones.

    On ``torchvision_devices``, these use torchvision's kernels, as far as it has any.
    """
    finder = OperatorFinder()
    module = finder.create_module(ModuleSpec('mmcv._ext', finder))
    finder.exec_module(module)
    with ExitStack() as changes:
        for name in ('DEVICES', 'NMS_DEVICES'):
            changes.enter_context(patch.object(torchvision_kernels, name, torchvision_devices))
        for name, user in list(sys.modules.items()):
            if name.startswith('mmcv.ops.') and hasattr(user, 'ext_module'):
                changes.enter_context(patch.object(user, 'ext_module', module))
        yield


def find_implementations(device: torch.device) -> dict[str, Callable[[], AbstractContextManager]]:
    """Name the implementations that this environment has, with what switches to each."""
    found: dict[str, Callable[[], AbstractContextManager]] = {'PyTorch': use_own_operators}
    if load_torchvision() is not None:
        found['torchvision'] = partial(use_own_operators, (device.type,))
    if has_compiled_operators():
        found['mmcv'] = nullcontext
    return found


def make_cases(device: torch.device) -> dict[str, Case]:
    """Make operators with inputs as large as in detectors at 800 x 1333 pixels."""
    torch.manual_seed(0)

    def draw_rois(number: int, smallest: int, largest: int, width: int, height: int) -> Tensor:
        """Draw RoIs (number, 5) of one image, with sides of these lengths, in pixels."""
        sizes = smallest + torch.rand(number, 2) * (largest - smallest)
        corners = torch.rand(number, 2) * (torch.tensor([width, height]) - sizes).clamp(min=0)
        return torch.cat([torch.zeros(number, 1), corners, corners + sizes], 1).to(device)

    def draw_map(channels: int, height: int, width: int) -> Tensor:
        """Draw a feature map (1, C, H, W) that needs a gradient."""
        return torch.randn(1, channels, height, width, device=device).requires_grad_()

    small, large, deep = draw_map(64, 40, 40), draw_map(256, 200, 336), draw_map(256, 50, 84)
    weight = torch.randn(256, 256, 3, 3, device=device).requires_grad_()
    offset = torch.randn(1, 18, 50, 84, device=device).requires_grad_()
    mask = torch.rand(1, 9, 50, 84, device=device).requires_grad_()
    boxes = draw_rois(4000, 16, 300, 1333, 800)[:, 1:]
    one_class = boxes[:1000]
    boxes = boxes + 2000 * torch.arange(5, device=device).repeat_interleave(800)[:, None]
    scores = torch.rand(len(boxes), device=device)
    align = ops.RoIAlign(7, 0.25, 0)
    return {
        'nms, 4000 boxes on 5 levels': (lambda b, s: ops.nms(b, s, 0.7)[0], (boxes, scores)),
        'nms, 1000 boxes of one class': (
            lambda b, s: ops.nms(b, s, 0.5)[0],
            (one_class, scores[:1000]),
        ),
        'soft_nms, 800 boxes': (lambda b, s: ops.soft_nms(b, s)[0], (boxes[:800], scores[:800])),
        'soft_nms, 4000 boxes': (lambda b, s: ops.soft_nms(b, s)[0], (boxes, scores)),
        'roi_align, 1024 RoIs, 64 channels': (align, (small, draw_rois(1024, 10, 60, 160, 160))),
        'roi_align, 512 RoIs, 256 channels': (align, (large, draw_rois(512, 10, 112, 1333, 800))),
        'roi_align, 300 large RoIs': (align, (large, draw_rois(300, 300, 700, 1333, 800))),
        'deform_conv, 256 channels': (
            lambda *inputs: ops.deform_conv2d(*inputs, 1, 1),
            (deep, offset, weight),
        ),
        'modulated_deform_conv, 256 channels': (
            lambda *inputs: ops.modulated_deform_conv2d(*inputs, None, 1, 1),
            (deep, offset, mask, weight),
        ),
    }


def compare_operators(rounds: int, device: torch.device) -> Timings:
    """Time the implementations of the operators in turn."""
    for name, (operator, inputs) in make_cases(device).items():
        yield name, 'forward', _time(partial(operator, *inputs), rounds, device)
        if any(tensor.requires_grad for tensor in inputs):
            yield name, 'both', _time(partial(_run_both, operator, inputs), rounds, device)


def compare_detectors(rounds: int, device: torch.device) -> Timings:
    """Time whole detectors likewise: inference and a training step."""
    for config, workload in DETECTORS.items():
        entry = Entry(config)
        detector = TimedDetector(entry, workload, device)
        name = f'{entry.stem}, {workload}'
        yield name, 'inference', _time(detector.predict, rounds, device)
        yield name, 'training step', _time(detector.train, rounds, device)


def _run_both(operator: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    output = operator(*inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    torch.autograd.grad(output, wanted, torch.ones_like(output))


def _time(action: Callable[[], object], rounds: int, device: torch.device) -> dict[str, float]:
    def run(switch: Callable[[], AbstractContextManager]) -> None:
        """Run the action with an implementation."""
        with switch():
            action()

    found = find_implementations(device)
    actions = [partial(run, switch) for switch in found.values()]
    seconds = zip(*time_in_turn(actions, rounds, 1, device), strict=True)
    return dict(zip(found, map(statistics.median, seconds), strict=True))

"""Whole detectors of each family on a GPU: losses as on the CPU, and mixed precision."""

import copy

import pytest
import torch
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mmdet_detnet import config_path
from mmdet_detnet.deployment import accelerate
from mmdet_detnet.host import has_compiled_operators

pytestmark = pytest.mark.cuda
DEVICE = 'cuda'
CONFIGS = [
    'custom/faster-rcnn_detnet59-slim_fpn_custom.py',
    'custom/faster-rcnn_ipgnet50-slim_fpn_custom.py',
    'custom/double-head-ext_r50-slim_fpn_custom.py',
    'custom/retinanet-conf_r50-slim_fpn_custom.py',
]


@pytest.fixture(params=CONFIGS)
def detector(request):
    """A slim detector with random weights, on the CPU."""
    detector = MODELS.build(Config.fromfile(config_path(request.param)).model)
    detector.init_weights()
    return detector


def make_batch(detector):
    torch.manual_seed(0)
    inputs = demo_mm_inputs(2, (3, 128, 160), num_items=[3, 2], num_classes=3)
    return detector.data_preprocessor(inputs, training=True)


def dense_losses(detector):
    """Compute the losses that depend on no choice of proposals."""
    losses = detector(**make_batch(detector), mode='loss')
    return {
        name: torch.stack(list(value)).detach().cpu() if isinstance(value, list) else value.cpu()
        for name, value in losses.items()
        if 'rpn' in name or not hasattr(detector, 'rpn_head')
    }


def test_losses_are_those_of_the_cpu(monkeypatch, detector):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    if hasattr(detector, 'rpn_head'):  # a random choice of anchors is another one on a GPU
        detector.rpn_head.sampler = PseudoSampler()
    expected = dense_losses(detector)
    actual = dense_losses(copy.deepcopy(detector).to(DEVICE))
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_mixed_precision_trains_and_detects(detector, dtype):
    if dtype == 'bfloat16' and has_compiled_operators():
        pytest.skip("mmcv's compiled operators have no bfloat16")
    detector.to(DEVICE)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=128.0)
    losses = []
    for _ in range(3):
        with wrapper.optim_context(detector):
            loss, _ = detector.parse_losses(detector(**make_batch(detector), mode='loss'))
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.isfinite().all() for parameter in detector.parameters())
    with torch.no_grad(), torch.autocast(DEVICE, getattr(torch, dtype)):
        found = detector.eval()(**make_batch(detector), mode='predict')
    for sample in found:
        assert sample.pred_instances.bboxes.isfinite().all()


@pytest.mark.parametrize('compiled', [False, True])
@torch.no_grad()
def test_accelerated_detections_are_close(monkeypatch, detector, compiled):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    detector.eval().to(DEVICE)
    batch = make_batch(detector)
    expected = detector(**batch, mode='predict')
    actual = accelerate(detector, compile=compiled)(**batch, mode='predict')
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(
            ours.pred_instances.scores[:3], theirs.pred_instances.scores[:3], rtol=1e-2, atol=1e-3
        )

"""Model families of mmdet on our operators: losses, gradients and scores as on compiled ones.

A slice of the families; ``--all-configs`` takes all of them.
"""

import copy

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmdet_families import HEIGHT, WIDTH, build_detector, run
from mmengine.logging import MessageHub

from mmdet_detnet.benchmark.operators import use_own_operators
from mmdet_detnet.host import has_compiled_operators

pytestmark = pytest.mark.skipif(
    not has_compiled_operators(), reason='mmcv has no compiled operators to compare with'
)
# Deformable convolutions of both versions, the latter with offsets of another level, too; RoIAlign.
SLICE = (
    'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py',
    'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py',
    'reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py',
    'tood/tood_r50_fpn_1x_coco.py',
)
# The biases before the batch norms of ResNeSt's attention: their gradients are rounding alone.
WITHOUT_GRADIENT = 'conv2.fc1.bias'


def prepare(detector):
    """Let no residual branch start at zero, which hides the gradients in it, but all offsets."""
    for name, module in detector.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.weight is not None:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        if name.endswith('offset') and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return detector.train()


def take_step(detector, batch):
    """Return losses and gradients by name; GHM's losses remember former steps."""
    detector = copy.deepcopy(detector)
    MessageHub.get_current_instance().update_info('epoch', 0)  # which TOOD asks for
    torch.manual_seed(0)
    losses = detector(**copy.deepcopy(batch), mode='loss')
    total, values = detector.parse_losses(losses)
    total.backward()
    values = {name: value.detach() for name, value in values.items()}
    gradients = {n: p.grad for n, p in detector.named_parameters() if p.grad is not None}
    return values, gradients


def take_compiled_step(detector, batch):
    """Take a step in float64, where little is lost to rounding, or else in float32.

    Some heads and mmcv's NMS are in float32 only.
    """
    for dtype in (torch.float64, torch.float32):
        batch['inputs'] = batch['inputs'].to(dtype)
        try:
            return take_step(detector.to(dtype), batch)
        except RuntimeError:
            if dtype == torch.float32:
                raise


@pytest.mark.usefixtures('one_block_a_stage')
def test_losses_and_gradients_equal_those_of_compiled_operators(family, pytestconfig):
    try:
        detector = prepare(build_detector(family))
        sizes = (3, HEIGHT, WIDTH)
        images = demo_mm_inputs(2, sizes, num_classes=3, with_mask=True, with_semantic=True)
        batch = detector.data_preprocessor(images, training=True)
        expected_losses, expected = take_compiled_step(detector, batch)
    except Exception as error:
        if not pytestconfig.getoption('all_configs'):
            raise
        pytest.skip(f'compiled: {error}')
    with use_own_operators():
        losses, gradients = take_step(detector, batch)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected.keys()
    differences = {
        key: float((gradients[key] - gradient).norm() / gradient.norm().clamp(min=1e-6))
        for key, gradient in expected.items()
        if not key.endswith(WITHOUT_GRADIENT)
    }
    assert {key: value for key, value in differences.items() if value > 1e-3} == {}
    batch['inputs'] = batch['inputs'].float()
    detector.float().eval()
    expected_scores = run(detector, batch)[1]
    with use_own_operators():
        scores = run(detector, batch)[1]
    torch.testing.assert_close(scores, expected_scores, rtol=1e-3, atol=1e-5)

"""MMDetection's own detectors on our operators: losses, gradients and detections as on mmcv's."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config

from mmdet_detnet.benchmark.operators import use_own_operators
from mmdet_detnet.host import has_compiled_operators

pytestmark = pytest.mark.skipif(
    not has_compiled_operators(), reason='mmcv has no compiled operators to compare with'
)
# The last has deformable convolutions in its backbone. Its loss chooses nothing by scores, so it is
# compared in float64; elsewhere what is before the first operator is the same in every bit.
CONFIGS = [
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet/retinanet_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'atss/atss_r50_fpn_1x_coco.py',
    DEFORMABLE := 'gfl/gfl_r101-dconv-c3-c5_fpn_ms-2x_coco.py',
]
# More than the 32 groups of GroupNorm, which makes zeros of a single value.
WIDTH = 64
# Proposals of some size, and classes that are far apart.
GAINS = {'rpn_head.rpn_reg': 0.01, 'roi_head.bbox_head.fc_cls': 4.0}


@pytest.fixture(scope='module', params=CONFIGS)
def detector(request):
    """The detector of a config of mmdet, slim and with random weights."""
    model = get_config(f'mmdet::{request.param}').model
    model.backbone.update(depth=50, base_channels=8, frozen_stages=-1, init_cfg=None)
    model.backbone.norm_cfg = dict(type='BN')
    model.neck.update(in_channels=[32, 64, 128, 256], out_channels=WIDTH)
    for name in ('bbox_head', 'rpn_head'):
        if name in model:
            model[name].update(in_channels=WIDTH, feat_channels=WIDTH)
    if 'roi_head' in model:
        slim_roi_head(model.roi_head)
        model.test_cfg.rcnn.update(max_per_img=10, score_thr=0.01)
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 40
    else:
        model.test_cfg.max_per_img = 10
    torch.manual_seed(0)
    detector = MODELS.build(model)
    spread(detector)
    detector.is_deformable = request.param == DEFORMABLE
    return detector


def slim_roi_head(roi_head):
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        if name in roi_head:
            roi_head[name].out_channels = WIDTH
    roi_head.bbox_head.update(in_channels=WIDTH, fc_out_channels=WIDTH)
    if 'mask_head' in roi_head:
        roi_head.mask_head.update(in_channels=WIDTH, conv_out_channels=WIDTH)


def spread(detector):
    """Fill weights so that scores are far apart, and offsets of deformed convolutions not zero."""
    for name, module in detector.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.xavier_normal_(module.weight, gain=GAINS.get(name, 1.0))
        if name.endswith('conv_offset'):
            torch.nn.init.normal_(module.weight, std=0.05)


@pytest.fixture
def batch(detector):
    torch.manual_seed(0)
    inputs = demo_mm_inputs(2, (3, 96, 128), num_items=[3, 2], with_mask=detector.with_mask)
    return detector.data_preprocessor(inputs, training=True)


def take_step(detector, batch):
    detector.train().zero_grad()
    torch.manual_seed(0)
    losses = detector(**batch, mode='loss')
    detector.parse_losses(losses)[0].backward()
    gradients = {n: p.grad.clone() for n, p in detector.named_parameters() if p.grad is not None}
    return {name: torch.as_tensor(value) for name, value in flatten(losses)}, gradients


def flatten(losses):
    for name, value in losses.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            yield f'{name}.{index}', part.detach()


def test_training_step(detector, batch):
    if detector.is_deformable:
        detector = copy.deepcopy(detector).double()
        batch = {**batch, 'inputs': batch['inputs'].double()}
    expected, expected_gradients = take_step(detector, batch)
    with use_own_operators():
        losses, gradients = take_step(detector, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        scale = gradient.abs().max().clamp(min=1e-6)
        torch.testing.assert_close(
            gradients[name] / scale, gradient / scale, rtol=0, atol=1e-3, msg=name
        )


@torch.no_grad()
def test_prediction(detector, batch):
    detector.eval()
    # Where samples are taken is rounded, and amplified by each of the convolutions.
    tolerance = dict(rtol=1e-3, atol=1e-2) if detector.is_deformable else dict(rtol=1e-4, atol=1e-3)
    expected = [sample.pred_instances for sample in detector(**batch, mode='predict')]
    with use_own_operators():
        actual = [sample.pred_instances for sample in detector(**batch, mode='predict')]
    for ours, compiled in zip(actual, expected, strict=True):
        assert len(ours) == len(compiled) > 0
        assert ours.labels.equal(compiled.labels)
        torch.testing.assert_close(ours.scores, compiled.scores, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(ours.bboxes, compiled.bboxes, **tolerance)
        if 'masks' in compiled:
            assert (ours.masks != compiled.masks).float().mean() < 1e-3

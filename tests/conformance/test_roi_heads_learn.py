"""No layer is dead: every parameter of Double-Head's RoI heads learns."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_detnet import config_path

CHANNELS = 8
NUM_CLASSES = 3
SMALL_HEAD = dict(
    in_channels=CHANNELS, conv_out_channels=32, fc_out_channels=16, num_classes=NUM_CLASSES
)
BOXES = torch.tensor([[10.0, 10, 60, 70], [50, 20, 120, 110]])
PLAIN = 'double_head/double-head_r50_fpn_1x_coco.py'
EXT = 'double_head/double-head-ext-nonlocal_r50_fpn_1x_coco.py'
CASCADE = 'double_head/double-head-cascade-rcnn_r50_fpn_1x_coco.py'
CASES = [
    (PLAIN, {}, {}),
    (PLAIN, dict(norm_cfg=dict(type='BN', requires_grad=False)), {}),
    (PLAIN, {}, dict(regress_positives_only=True)),
    (EXT, {}, {}),
    (CASCADE, dict(norm_cfg=dict(type='BN', requires_grad=False)), {}),
]


def build_roi_head(config, head, options):
    """Build the RoI head of a config, narrow, initialized and in training."""
    model = Config.fromfile(config_path(config)).model
    cfg = model.roi_head
    cfg.bbox_roi_extractor.out_channels = CHANNELS
    heads = cfg.bbox_head if isinstance(cfg.bbox_head, list) else [cfg.bbox_head]
    for each in heads:
        each.update(SMALL_HEAD)
        each.update(head)
    cfg.update(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn, **options)
    roi_head = MODELS.build(cfg)
    roi_head.init_weights()
    return roi_head.train()


def backward(roi_head):
    feats = tuple(torch.randn(1, CHANNELS, 128 // s, 160 // s) for s in (4, 8, 16, 32))
    sample = DetDataSample(metainfo=dict(img_shape=(128, 160)))
    sample.gt_instances = InstanceData(bboxes=BOXES, labels=torch.tensor([0, 2]))
    sample.ignored_instances = InstanceData(bboxes=BOXES[:0], labels=torch.tensor([]))
    near = BOXES.repeat(10, 1) + torch.randn(20, 4) * 4
    far = torch.tensor([[0.0, 0, 20, 20], [100, 90, 150, 120]])
    proposals = InstanceData(bboxes=torch.cat([near, far]))
    losses = roi_head.loss(feats, [proposals], [sample])
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@pytest.mark.parametrize(('config', 'head', 'options'), CASES)
def test_every_parameter_learns(config, head, options):
    roi_head = build_roi_head(config, head, options)
    parameters = [p for p in roi_head.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(2):
        backward(roi_head)
        optimizer.step()
        optimizer.zero_grad()
    backward(roi_head)
    dead = [
        name
        for name, parameter in roi_head.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert dead == []

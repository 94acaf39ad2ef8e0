"""Detectors of each family, small enough to export in a test, with scores that differ."""

import copy

import torch
from helpers import few_blocks, randomize
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

CHANNELS = 8
CLASSES = ('circle', 'square', 'triangle')
BEST_SCORE_THR = {'all': 0.4, 'classes': {'circle': 0.35}}
STRIDES = [8, 16]
# Layers that predict, and the deviation of what they predict.
PREDICTIONS = dict(
    rpn_cls=1, rpn_reg=0.3, retina_cls=2, retina_reg=0.3, retina_conf=2, fc_cls=2, fc_reg=1
)
NMS = dict(type='nms', iou_threshold=0.5)
PIXELS = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)
TRUNK = dict(
    data_preprocessor=PIXELS,
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=CHANNELS,
        num_stages=3,
        out_indices=(1, 2),
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
    ),
    neck=dict(type='FPN', in_channels=[16, 32], out_channels=CHANNELS, num_outs=2),
)
RPN = dict(
    type='RPNHead',
    in_channels=CHANNELS,
    feat_channels=CHANNELS,
    anchor_generator=dict(
        type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=STRIDES
    ),
)
EXTRACTOR = dict(
    type='SingleRoIExtractor',
    roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
    out_channels=CHANNELS,
    featmap_strides=STRIDES,
    finest_scale=16,
)
FC_HEAD = dict(
    type='Shared2FCBBoxHead', in_channels=CHANNELS, fc_out_channels=16, num_classes=len(CLASSES)
)
DOUBLE_HEAD = dict(
    type='mmdet_detnet.DoubleConvFCBBoxHead',
    num_convs=1,
    num_fcs=2,
    in_channels=CHANNELS,
    conv_out_channels=16,
    fc_out_channels=16,
    num_classes=len(CLASSES),
)
EXT = dict(DOUBLE_HEAD, num_nonlocal=1, lambda_fc=0.7, lambda_conv=0.8, fusion='complementary')
DENSE_HEAD = dict(
    num_classes=len(CLASSES),
    in_channels=CHANNELS,
    feat_channels=CHANNELS,
    stacked_convs=1,
    anchor_generator=dict(
        type='AnchorGenerator',
        octave_base_scale=4,
        scales_per_octave=2,
        ratios=[0.5, 1.0],
        strides=STRIDES,
    ),
)


def _two_stage(type_, roi_head, rcnn=None, rpn=None):
    return dict(
        type=type_,
        **TRUNK,
        train_cfg=None,
        rpn_head=RPN,
        roi_head=dict(bbox_roi_extractor=EXTRACTOR, **roi_head),
        test_cfg=dict(
            rpn=dict(nms_pre=60, max_per_img=40, nms=NMS, min_bbox_size=0, **(rpn or {})),
            rcnn=dict(score_thr=0.1, nms=NMS, max_per_img=30, **(rcnn or {})),
        ),
    )


def _double_head(head, type_='mmdet_detnet.DoubleHeadRoIHead', **options):
    roi_head = dict(type=type_, reg_roi_scale_factor=1.3, bbox_head=head, **options)
    return _two_stage('FasterRCNN', roi_head)


def _cascade(type_, head, **options):
    return _two_stage(
        'CascadeRCNN',
        dict(
            type=type_, num_stages=2, stage_loss_weights=[1, 0.5], bbox_head=[head] * 2, **options
        ),
    )


def _dense(**head):
    return dict(
        type='RetinaNet',
        **TRUNK,
        bbox_head={**DENSE_HEAD, **head},
        test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.1, nms=NMS, max_per_img=30),
    )


MODEL_CFGS = {
    'Faster R-CNN': _two_stage('FasterRCNN', dict(type='StandardRoIHead', bbox_head=FC_HEAD)),
    'class-agnostic': _two_stage(
        'FasterRCNN', dict(type='StandardRoIHead', bbox_head=dict(FC_HEAD, reg_class_agnostic=True))
    ),
    'Cascade R-CNN': _cascade('CascadeRoIHead', FC_HEAD),
    "MMDetection's Double-Head": _double_head(
        dict(DOUBLE_HEAD, type='DoubleConvFCBBoxHead', conv_out_channels=16), 'DoubleHeadRoIHead'
    ),
    'Double-Head': _double_head(DOUBLE_HEAD),
    'Double-Head-Ext': _double_head(EXT),
    'Double-Head-Ext, fc': _double_head(dict(EXT, fusion='fc')),
    'Cascade Double-Head': _cascade(
        'mmdet_detnet.CascadeDoubleHeadRoIHead', DOUBLE_HEAD, reg_roi_scale_factor=1.3
    ),
    'RetinaNet': _dense(type='RetinaHead'),
    'RetinaNet-Conf': _dense(type='mmdet_detnet.ConfidenceRetinaHead'),
    'RetinaNet-Conf by class': _dense(type='mmdet_detnet.ConfidenceRetinaHead', select_by='cls'),
}
MODEL_CFGS['RetinaNet-Conf on IPG-Net'] = dict(
    MODEL_CFGS['RetinaNet-Conf by class'],
    backbone=dict(
        type='mmdet_detnet.IPGNet', depth=50, base_channels=2, out_indices=(1, 2), fused_stages=(3,)
    ),
)


def make_config(family):
    """Make the config of a family's detector, with all that an export reads of it."""
    resize = dict(type='Resize', scale=(160, 96), keep_ratio=True)
    pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackDetInputs')]
    dataset = dict(type='CocoDataset', metainfo=dict(classes=CLASSES), pipeline=pipeline)
    model = copy.deepcopy(MODEL_CFGS[family])
    backends = [dict(type='LocalVisBackend')]
    visualizer = dict(type='DetLocalVisualizer', vis_backends=backends, name='visualizer')
    return Config(dict(model=model, test_dataloader=dict(dataset=dataset), visualizer=visualizer))


def build(cfg):
    """Build a config's detector with weights by which scores differ and boxes stay small."""
    torch.manual_seed(0)
    with few_blocks():  # the time of an export is that of its layers
        detector = MODELS.build(cfg.model).eval()
    randomize(detector)
    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if deviation := PREDICTIONS.get(name.split('.')[-1]):
            _scale_once(module, deviation)
    detector.cfg, detector.dataset_meta = cfg, dict(classes=CLASSES)
    detect(detector, make_images(2, 75, 130))
    return detector


def _scale_once(module, deviation):
    """Scale the weights of a layer when it first runs, for this deviation of its outputs."""

    def scale(module, inputs, outputs):
        hook.remove()
        factor = deviation / outputs.std()
        module.weight *= factor
        return outputs * factor

    hook = module.register_forward_hook(scale)


@torch.no_grad()
def detect(detector, images):
    """Run a detector as MMDetection runs it, on RGB images (B, 3, H, W)."""
    height, width = images.shape[2:]
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=meta) for _ in images]
    data = dict(inputs=list(images.flip(1)), data_samples=samples)
    return [sample.pred_instances for sample in detector.test_step(data)]


def make_images(number, height, width):
    """Make images of noise in squares, so that there are things of all sizes."""
    generator = torch.Generator().manual_seed(height * width)
    images = torch.zeros(number, 3, height, width)
    for size in (4, 16, 64):
        noise = torch.rand(number, 3, -(-height // size), -(-width // size), generator=generator)
        images += noise.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :height, :width]
    return (images * 85).to(torch.uint8)

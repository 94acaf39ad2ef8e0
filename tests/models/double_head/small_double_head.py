"""A small Double-Head: its configs, and boxes for it."""

import numpy as np
import torch

CHANNELS = 8
NUM_CLASSES = 4
STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 128, 192

HEAD = dict(
    num_convs=2,
    num_fcs=2,
    in_channels=CHANNELS,
    conv_out_channels=32,
    fc_out_channels=16,
    num_classes=NUM_CLASSES,
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=2.5),
)
EXTRACTOR = dict(
    type='mmdet_detnet.PreciseRoIExtractor',
    roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
    out_channels=CHANNELS,
    featmap_strides=list(STRIDES),
    finest_scale=14,
)
MASK_HEAD = dict(
    type='FCNMaskHead',
    num_convs=1,
    in_channels=CHANNELS,
    conv_out_channels=CHANNELS,
    num_classes=NUM_CLASSES,
    roi_feat_size=7,
    loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
)
EXT = dict(lambda_fc=0.7, lambda_conv=0.8, fusion='complementary')
TEST_CFG = dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
TRAIN_CFG = dict(
    assigner=dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=False,
    ),
    sampler=dict(type='RandomSampler', num=32, pos_fraction=0.25, neg_pos_ub=-1),
    pos_weight=-1,
)


def random_boxes(number, seed):
    """Make boxes of 4 to 100 pixels inside the image."""
    generator = np.random.default_rng(seed)
    size = np.exp(generator.uniform(np.log(4), np.log(100), (number, 2)))
    corner = generator.uniform(0, 1, (number, 2)) * (np.array([WIDTH, HEIGHT]) - size)
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)

"""A small RetinaNet head for 128 x 128 pixels, shared by the tests of the dense heads."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

NUM_CLASSES = 3
CHANNELS = 8
NUM_ANCHORS = 9
IMAGE_SIZE = 128
# Strides 8 to 128: 2304, 576, 144, 36 and 9 anchors.
LEVEL_SIZES = (16, 8, 4, 2, 1)

HEAD = dict(
    type='mmdet_detnet.ConfidenceRetinaHead',
    num_classes=NUM_CLASSES,
    in_channels=CHANNELS,
    feat_channels=CHANNELS,
    stacked_convs=1,
    loss_cls=dict(type='FocalLoss', use_sigmoid=True),
    loss_bbox=dict(type='L1Loss'),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(
        # Fewer than the two finest levels have, more than the others.
        nms_pre=200,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=20,
    ),
)


@pytest.fixture
def make_head():
    """Return a function that builds the head, with changed arguments if it is given any."""
    return lambda **kwargs: MODELS.build(ConfigDict({**HEAD, **kwargs}))


@pytest.fixture
def features():
    """Five levels of features for two images."""
    return [torch.randn(2, CHANNELS, size, size) for size in LEVEL_SIZES]


@pytest.fixture
def outputs():
    """Class, box and confidence maps as of a trained head: few high scores among many low ones."""
    return tuple(
        [mean + std * torch.randn(2, NUM_ANCHORS * width, size, size) for size in LEVEL_SIZES]
        for width, mean, std in ((NUM_CLASSES, -4, 2), (4, 0, 0.3), (1, 0, 2))
    )


@pytest.fixture
def metas():
    """Meta information of two images that fill the batch."""
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    return [dict(img_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)) for _ in range(2)]


@pytest.fixture
def truths():
    """Ground truth of two images: two boxes, and one."""
    return [
        InstanceData(
            bboxes=torch.tensor([[8.0, 10, 50, 55], [60, 20, 125, 120]]),
            labels=torch.tensor([0, 2]),
        ),
        InstanceData(bboxes=torch.tensor([[20.0, 20, 64, 60]]), labels=torch.tensor([1])),
    ]

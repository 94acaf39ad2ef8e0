"""A small Double-Head on four levels, and its inputs."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

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
PLAIN_EXTRACTOR = dict(EXTRACTOR, type='SingleRoIExtractor')
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
TEST_CFG = ConfigDict(
    score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100, mask_thr_binary=0.5
)
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
    mask_size=14,
)


def build(config):
    """Build a module; its predictors get weights with which RoIs differ in class and in box."""
    torch.manual_seed(0)
    module = MODELS.build(ConfigDict(config))
    for name, parameter in module.named_parameters():
        if 'fc_cls.weight' in name:
            torch.nn.init.normal_(parameter, std=3)
        if 'fc_reg.weight' in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def make_head(scope='mmdet_detnet', **options):
    """Build a box head, ours or mmdet's."""
    return build({'type': f'{scope}.DoubleConvFCBBoxHead', **HEAD, **options})


def make_roi_head(scope='mmdet_detnet', head=None, **options):
    """Build a RoI head, ours or mmdet's."""
    return build(
        {
            'type': f'{scope}.DoubleHeadRoIHead',
            'reg_roi_scale_factor': 1.3,
            'bbox_roi_extractor': PLAIN_EXTRACTOR if scope == 'mmdet' else EXTRACTOR,
            'bbox_head': {'type': f'{scope}.DoubleConvFCBBoxHead', **HEAD, **(head or {})},
            'train_cfg': TRAIN_CFG,
            'test_cfg': TEST_CFG,
            **options,
        }
    )


def make_feats(number=2):
    """Make the features of some images."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(HEIGHT // stride, WIDTH // stride) for stride in STRIDES]
    return tuple(torch.randn(number, CHANNELS, *size, generator=generator) for size in sizes)


def random_boxes(number, seed):
    """Make boxes of 4 to 100 pixels inside the image."""
    generator = np.random.default_rng(seed)
    size = np.exp(generator.uniform(np.log(4), np.log(100), (number, 2)))
    corner = generator.uniform(0, 1, (number, 2)) * (np.array([WIDTH, HEIGHT]) - size)
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)


def make_proposals(*numbers):
    """Make proposals, as an RPN would, for each image."""
    return [InstanceData(bboxes=random_boxes(n, seed)) for seed, n in enumerate(numbers)]


def make_metas(number):
    """Make the meta information of images."""
    meta = dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), scale_factor=(2.0, 2.0))
    return [dict(meta) for _ in range(number)]


def make_samples(*numbers):
    """Make the ground truth of images with so many boxes."""
    samples = []
    for seed, number in enumerate(numbers):
        sample = DetDataSample(metainfo=make_metas(1)[0])
        boxes, labels = random_boxes(number, seed + 100), torch.arange(number) % NUM_CLASSES
        masks = BitmapMasks(np.ones((number, HEIGHT, WIDTH), dtype=np.uint8), HEIGHT, WIDTH)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels, masks=masks)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
        samples.append(sample)
    return samples


def sample_rois(roi_head, *numbers):
    """Assign and sample RoIs as a RoI head does in training."""
    results = []
    for proposals, sample in zip(make_proposals(40, 30), make_samples(*numbers), strict=True):
        proposals.priors = proposals.pop('bboxes')
        assigned = roi_head.bbox_assigner.assign(proposals, sample.gt_instances)
        results.append(roi_head.bbox_sampler.sample(assigned, proposals, sample.gt_instances))
    return results


def count_convolved(bbox_head):
    """List how many RoIs each call of the conv-head gets."""
    counts = []
    convolve = bbox_head.conv_features
    bbox_head.conv_features = lambda x: counts.append(len(x)) or convolve(x)
    return counts


def sum_losses(losses):
    """Sum up what is to be minimized."""
    return sum(value for name, value in losses.items() if 'loss' in name)


def assert_every_parameter_has_a_gradient(module, zero=False):
    """And it is finite, or zero."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert not zero or not parameter.grad.any(), name

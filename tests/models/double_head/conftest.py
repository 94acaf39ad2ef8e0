"""Small heads and their inputs."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_double_head import (
    CHANNELS,
    EXTRACTOR,
    HEAD,
    HEIGHT,
    NUM_CLASSES,
    STRIDES,
    TEST_CFG,
    TRAIN_CFG,
    WIDTH,
    random_boxes,
)


def spread_outputs(module):
    """Give the predictors weights with which RoIs differ in class and in box."""
    for name, parameter in module.named_parameters():
        if 'fc_cls.weight' in name:
            torch.nn.init.normal_(parameter, std=3)
        if 'fc_reg.weight' in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return module


@pytest.fixture
def make_head():
    """Build a box head, ours or mmdet's, with weights that make a difference."""

    def make(scope='mmdet_detnet', **options):
        torch.manual_seed(0)
        head = MODELS.build({'type': f'{scope}.DoubleConvFCBBoxHead', **HEAD, **options})
        return spread_outputs(head).eval()

    return make


@pytest.fixture
def make_roi_head():
    """Build a RoI head on four levels."""

    def make(scope='mmdet_detnet', head=None, **options):
        torch.manual_seed(0)
        extractor = 'SingleRoIExtractor' if scope == 'mmdet' else 'mmdet_detnet.PreciseRoIExtractor'
        roi_head = MODELS.build(
            ConfigDict(
                {
                    'reg_roi_scale_factor': 1.3,
                    'bbox_roi_extractor': dict(EXTRACTOR, type=extractor),
                    **options,
                },
                type=f'{scope}.DoubleHeadRoIHead',
                bbox_head={'type': f'{scope}.DoubleConvFCBBoxHead', **HEAD, **(head or {})},
                train_cfg=TRAIN_CFG,
                test_cfg=TEST_CFG,
            )
        )
        return spread_outputs(roi_head).eval()

    return make


@pytest.fixture
def feats():
    """Features of two images on four levels."""
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(2, CHANNELS, HEIGHT // stride, WIDTH // stride, generator=generator)
        for stride in STRIDES
    )


@pytest.fixture
def make_proposals():
    """Make proposals, as an RPN would, for each image."""

    def make(*numbers):
        return [InstanceData(bboxes=random_boxes(n, seed)) for seed, n in enumerate(numbers)]

    return make


@pytest.fixture
def make_metas():
    """Make the meta information of images."""

    def make(number):
        meta = dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), scale_factor=(2.0, 2.0))
        return [dict(meta) for _ in range(number)]

    return make


@pytest.fixture
def make_samples(make_metas):
    """Make the ground truth of images with so many boxes."""

    def make(*numbers):
        samples = []
        for seed, number in enumerate(numbers):
            sample = DetDataSample(metainfo=make_metas(1)[0])
            boxes = random_boxes(number, seed + 100)
            labels = torch.arange(number) % NUM_CLASSES
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
            sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
            samples.append(sample)
        return samples

    return make


@pytest.fixture
def sample_rois(make_proposals, make_samples):
    """Assign and sample RoIs as a RoI head does in training."""

    def sample(roi_head, *numbers):
        results = []
        for proposals, sample in zip(make_proposals(40, 30), make_samples(*numbers), strict=True):
            proposals.priors = proposals.pop('bboxes')
            assigned = roi_head.bbox_assigner.assign(proposals, sample.gt_instances)
            results.append(roi_head.bbox_sampler.sample(assigned, proposals, sample.gt_instances))
        return results

    return sample

"""Configs of IPG-Net: anchors and RoIs lie on the grids that the network really has."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_detnet import config_path

# One of each set of levels.
NAMES = [
    'faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py',
    'faster-rcnn_ipgnet50-5stage_fpn_8xb4-1x_coco.py',
    'faster-rcnn_ipgnet50-7keep_fpn_8xb4-1x_coco.py',
    'faster-rcnn_ipgdetnet59-r50-init_fpn_1x_coco.py',
    'retinanet_ipgnet50_fpn_8xb4-1x_coco.py',
]
SIZE = 1024


def levels(config):
    """Run backbone and neck of full width on nothing, and return the strides of their levels."""
    with torch.device('meta'):
        backbone, neck = MODELS.build(config.model.backbone), MODELS.build(config.model.neck)
        return [SIZE // output.shape[2] for output in neck(backbone(torch.empty(1, 3, SIZE, SIZE)))]


def load(name):
    return Config.fromfile(config_path(f'ipgnet/{name}'))


@pytest.mark.parametrize('name', NAMES)
def test_anchors_and_rois_follow_the_levels(name):
    config = load(name)
    strides = levels(config)
    head = config.model.get('rpn_head', config.model.get('bbox_head'))
    assert list(head.anchor_generator.strides) == strides
    if 'roi_head' in config.model:
        roi_strides = list(config.model.roi_head.bbox_roi_extractor.featmap_strides)
        assert roi_strides == strides[: len(roi_strides)]


def test_levels_of_one_stride_have_growing_anchors():
    config = load('faster-rcnn_ipgnet50-7keep_fpn_8xb4-1x_coco.py')
    sizes = config.model.rpn_head.anchor_generator.base_sizes
    assert levels(config) == [4, 8, 16, 32, 32, 32, 32]
    assert sizes == sorted(set(sizes))


def test_voc_images_are_1000_by_600():
    config = load('faster-rcnn_ipgnet50-stage3_fpn_1x_voc0712.py')
    (test_scale,) = [t.scale for t in config.test_dataloader.dataset.pipeline if 'scale' in t]
    assert tuple(test_scale) == (1000, 600)

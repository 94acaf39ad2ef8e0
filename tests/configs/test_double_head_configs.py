"""What the Double-Head configs say, beyond that they run."""

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_detnet.models.double_head.roi_head import mixes_rois


def test_voc07_trains_on_2007_alone(load_config):
    config = load_config('double_head/double-head-ext_r50_fpn_1x_voc07.py')
    datasets = config.train_dataloader.dataset.dataset.datasets
    assert [dataset.data_prefix.sub_data_root for dataset in datasets] == ['VOC2007/']
    assert config.model.roi_head.bbox_head.num_classes == 20


@pytest.mark.parametrize('name', ['cascade-rcnn', 'cascade-mask-rcnn'])
def test_cascade_stages_keep_mmdets_box_coders(name, load_config):
    ours = load_config(f'double_head/double-head-{name}_r50_fpn_1x_coco.py').model.roi_head
    stds = [head.bbox_coder.target_stds for head in ours.bbox_head]
    assert stds == [[0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067]]


@pytest.mark.parametrize('prefix', ['double-head', 'double-head-ext'])
def test_with_group_norm_the_conv_head_sees_positives_alone(prefix, load_config):
    config = load_config(f'double_head/{prefix}_r50_fpn_gn-head_1x_coco.py')
    with torch.device('meta'):
        roi_head = MODELS.build(config.model.roi_head).train()
    assert roi_head.regress_positives_only == 'auto'
    assert roi_head.bbox_head.unfocused_cls is None
    assert (roi_head.bbox_head.unfocused_reg is not None) == (prefix == 'double-head-ext')
    assert not any(map(mixes_rois, roi_head.bbox_head.modules()))


def test_rois_of_the_authors_config_are_pooled_without_the_half_pixel(load_config):
    name = 'double_head/double-head-ext-nonlocal_r50-caffe_fpn_authors-1x_coco.py'
    extractor = MODELS.build(load_config(name).model.roi_head.bbox_roi_extractor)
    assert [layer.aligned for layer in extractor.roi_layers] == [False] * 4
    assert [layer.sampling_ratio for layer in extractor.roi_layers] == [2] * 4

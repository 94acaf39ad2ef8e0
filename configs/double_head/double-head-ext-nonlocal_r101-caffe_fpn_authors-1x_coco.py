_base_ = [
    '../_base_/models/double-head-ext-nonlocal_r50-caffe_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_double_head_authors.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe'))
)

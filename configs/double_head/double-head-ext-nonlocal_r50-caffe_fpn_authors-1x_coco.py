# The authors' detector, for their released weights (docs/weights.md).
_base_ = [
    '../_base_/models/double-head-ext-nonlocal_r50-caffe_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_double_head_authors.py',
    '../_base_/default_runtime.py',
]

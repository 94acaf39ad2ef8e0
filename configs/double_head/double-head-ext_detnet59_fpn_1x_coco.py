_base_ = [
    '../_base_/models/faster-rcnn_detnet59_fpn.py',
    '../_base_/models/double_head.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=_base_.double_head_ext_roi_head)

_base_ = [
    '../_base_/models/faster-rcnn_detnet59_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_voc.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))

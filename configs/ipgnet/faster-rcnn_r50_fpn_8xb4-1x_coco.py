# The baseline: mmdet's ResNet-50, trained like the guided networks. Fine-tuning starts from it.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_detection_8xb4.py',
    '../_base_/schedules/schedule_ipgnet.py',
    '../_base_/default_runtime.py',
]

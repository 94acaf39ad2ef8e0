# The paper's training of Faster R-CNN: its schedule, warm-up and numbers of proposals.
_base_ = [
    '../_base_/models/faster-rcnn_detnet59_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_detnet.py',
    '../_base_/default_runtime.py',
]
model = _base_.detnet_proposals

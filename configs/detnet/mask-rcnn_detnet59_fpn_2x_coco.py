# The paper's training of Faster R-CNN, for Mask R-CNN.
_base_ = [
    '../_base_/models/mask-rcnn_detnet59_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_detnet.py',
    '../_base_/default_runtime.py',
]
model = _base_.detnet_proposals

_base_ = [
    '../_base_/models/retinanet-conf_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
    'mmdet::retinanet/retinanet_tta.py',
]
# As in mmdet's RetinaNet: half of Faster R-CNN's learning rate.
optim_wrapper = dict(optimizer=dict(lr=0.01))

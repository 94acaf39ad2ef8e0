# Images of 1000 x 600, from ImageNet weights with mmdet's VOC schedule. The authors' code starts
# from a trained detector.
_base_ = [
    '../_base_/models/faster-rcnn_ipgnet50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_voc.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(fused_stages=(3,)),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)

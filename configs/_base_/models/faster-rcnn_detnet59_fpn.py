_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './detnet59_fpn.py']
model = dict(
    backbone=_base_.detnet59,
    neck=dict(in_channels=_base_.detnet_channels),
    rpn_head=dict(anchor_generator=_base_.detnet_anchors),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=_base_.detnet_roi_strides)),
)

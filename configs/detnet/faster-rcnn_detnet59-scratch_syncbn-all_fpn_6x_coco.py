# The paper gives no schedule for training from scratch. This is mmdet's for ResNet-50, with
# synchronized batch norm everywhere instead of group norm.
_base_ = ['./faster-rcnn_r50-scratch_syncbn-all_fpn_6x_coco.py', '../_base_/models/detnet59_fpn.py']
_base_.detnet59.update(
    frozen_stages=-1,
    norm_cfg=_base_.norm_cfg,
    norm_eval=False,
    zero_init_residual=False,
    init_cfg=None,
)
model = dict(
    backbone=_base_.detnet59,
    neck=dict(in_channels=_base_.detnet_channels),
    rpn_head=dict(anchor_generator=_base_.detnet_anchors),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=_base_.detnet_roi_strides)),
)

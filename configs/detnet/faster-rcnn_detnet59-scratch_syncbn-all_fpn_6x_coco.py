# The paper gives no schedule for training from scratch; this is the baseline's.
_base_ = [
    './faster-rcnn_r50-scratch_syncbn-all_fpn_6x_coco.py',
    '../_base_/models/detnet59_fpn.py',
]
norms = dict(
    norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False, zero_init_residual=False
)
model = dict(
    backbone=dict(_base_.detnet59, frozen_stages=-1, init_cfg=None, **norms),
    neck=dict(in_channels=_base_.detnet_channels),
    rpn_head=dict(anchor_generator=_base_.detnet_anchors),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=_base_.detnet_roi_strides)),
)

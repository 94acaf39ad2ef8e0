# The paper gives no schedule for training from scratch. This is mmdet's for ResNet-50, with
# synchronized batch norm everywhere instead of group norm.
_base_ = [
    'mmdet::scratch/faster-rcnn_r50-scratch_fpn_gn-all_6x_coco.py',
    '../_base_/models/detnet59_fpn.py',
    '../_base_/safety_hooks.py',
]
default_hooks = _base_.safety_hooks
sync_bn = dict(type='SyncBN', requires_grad=True)
norm_cfg = dict(_delete_=True, **sync_bn)
norms = dict(norm_cfg=sync_bn, norm_eval=False, zero_init_residual=False)
model = dict(
    backbone=dict(_base_.detnet59, frozen_stages=-1, init_cfg=None, **norms),
    neck=dict(in_channels=_base_.detnet_channels, norm_cfg=norm_cfg),
    rpn_head=dict(anchor_generator=_base_.detnet_anchors),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=_base_.detnet_roi_strides),
        bbox_head=dict(norm_cfg=norm_cfg),
    ),
)

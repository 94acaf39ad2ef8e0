# ResNet-50 from scratch, the baseline of DetNet-59: mmdet's training, with synchronized batch norm
# everywhere instead of group norm.
_base_ = [
    'mmdet::scratch/faster-rcnn_r50-scratch_fpn_gn-all_6x_coco.py',
    '../_base_/safety_hooks.py',
]
default_hooks = _base_.safety_hooks
norm_cfg = dict(_delete_=True, type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(norm_cfg=norm_cfg, norm_eval=False),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg)),
)

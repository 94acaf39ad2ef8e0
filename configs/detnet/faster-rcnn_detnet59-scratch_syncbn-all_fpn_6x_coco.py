# The paper gives no schedule for its training from scratch. This is the one that mmdet has for
# ResNet-50, with synchronised batch norm in every part instead of group norm.
_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg)
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0))
max_epochs = 73
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', end=max_epochs, by_epoch=True, milestones=[65, 71], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

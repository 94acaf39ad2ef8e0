# Images of 1000 x 600, from ImageNet weights with mmdet's VOC schedule: the data set is repeated 3
# times, so 4 epochs are 12. The authors' code starts from a finished detector instead.
_base_ = [
    '../_base_/models/faster-rcnn_ipgnet50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(fused_stages=(3,)),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(lr=0.01))

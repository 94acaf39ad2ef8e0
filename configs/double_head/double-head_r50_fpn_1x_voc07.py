# VOC 2007 alone, as the paper has it, with mmdet's VOC settings: images of 1000 x 600, the data set
# repeated 3 times, so 4 epochs are 12. The paper's settings for VOC are not known to us.
_base_ = [
    '../_base_/models/double-head_r50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
voc2007 = _base_.train_dataloader.dataset.dataset.datasets[0]
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[voc2007])))
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(lr=0.01))

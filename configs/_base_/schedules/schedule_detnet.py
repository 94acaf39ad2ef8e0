# The paper's schedule: 180k iterations of 16 images (mmdet's 2x), with its own warm-up.
_base_ = 'mmdet::_base_/schedules/schedule_2x.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
]

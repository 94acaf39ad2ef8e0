# The schedule of the Double-Head authors' code: 180k iterations of 8 images (mmdet's 1x), half
# mmdet's learning rate, and for biases twice the rate and no decay.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
# By name, because `bias_lr_mult` would leave out the biases of batch norm.
biases = dict(bias=dict(lr_mult=2.0, decay_mult=0.0))
optim_wrapper = dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(custom_keys=biases))
auto_scale_lr = dict(base_batch_size=8)

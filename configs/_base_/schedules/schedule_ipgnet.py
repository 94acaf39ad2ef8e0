# The paper's schedule: 12 epochs, learning rate 0.01 for 8 GPUs with 4 images each, divided by ten
# after 7 and 11. Momentum, weight decay and clipping are from the authors' code, which uses a rate
# of 0.02 for most detectors. `--auto-scale-lr` adapts the rate to other batch sizes.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[7, 11], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35, norm_type=2))
auto_scale_lr = dict(base_batch_size=32)

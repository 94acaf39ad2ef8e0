# The DetNet paper trains like the ResNeXt paper, with a batch of 256, and does not repeat the
# values. These are mmpretrain's for ResNeXt.
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001),
)
# `--auto-scale-lr` scales the rate by (GPUs * batch size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=256)

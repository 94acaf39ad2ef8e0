# From scratch: AdamW, warm-up, cosine decay. To change the length, set both `max_epochs` and the
# decay's `T_max`.
max_epochs = 12
base_lr = 1e-3

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    # All tensors in one call. `fused` is faster on a CPU, but torch 2.13 then steps wrongly, and
    # says nothing, if a resumed state has another memory layout than the weights.
    optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.05, foreach=True),
    clip_grad=dict(max_norm=10, foreach=True),
)
# `--auto-scale-lr` scales the rate by (GPUs * batch size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=8)
# For default_hooks: trains in channels-last. `train_dtype='auto'` also trains in bfloat16 where the
# CPU has instructions for it.
acceleration = dict(type='mmdet_detnet.AccelerationHook', compile=False)

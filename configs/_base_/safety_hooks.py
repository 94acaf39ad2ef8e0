# Every config of this package stops at a head whose number of classes is not the data set's; mmdet
# has the hook, but does not switch it on.
custom_hooks = [
    dict(type='NumClassCheckHook'),
]
# For default_hooks, where they stay if a config lists custom_hooks of its own.
safety_hooks = dict(
    checkpoint=dict(type='mmdet_detnet.DurableCheckpointHook', interval=1),
    plain_checkpoint=dict(type='mmdet_detnet.PlainCheckpointHook'),
    sampler_seed=dict(type='mmdet_detnet.SeedHook'),
    finite_check=dict(type='mmdet_detnet.FiniteCheckHook'),
    config_check=dict(type='mmdet_detnet.ConfigCheckHook'),
)
custom_imports = dict(imports=['mmdet_detnet.checkpoints'], allow_failed_imports=False)

# All configs of this package stop if the classes of a head and the dataset differ in number; mmdet
# has this hook, but does not enable it.
custom_hooks = [
    dict(type='NumClassCheckHook'),
]
# For default_hooks, so that they remain if a config sets its own custom_hooks.
safety_hooks = dict(
    checkpoint=dict(type='mmdet_detnet.DurableCheckpointHook', interval=1),
    plain_checkpoint=dict(type='mmdet_detnet.PlainCheckpointHook'),
    sampler_seed=dict(type='mmdet_detnet.SeedHook'),
    finite_check=dict(type='mmdet_detnet.FiniteCheckHook'),
    config_check=dict(type='mmdet_detnet.ConfigCheckHook'),
)
custom_imports = dict(imports=['mmdet_detnet.checkpoints'], allow_failed_imports=False)

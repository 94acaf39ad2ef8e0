# Every config of this package stops on a loss that is not finite and on a head whose
# number of classes is not the data set's; mmdet has both hooks, but switches neither on.
custom_hooks = [
    dict(type='CheckInvalidLossHook', interval=10),
    dict(type='NumClassCheckHook'),
]
# For default_hooks, where they stay if a config lists custom_hooks of its own.
safety_hooks = dict(plain_checkpoint=dict(type='mmdet_detnet.PlainCheckpointHook'))
custom_imports = dict(imports=['mmdet_detnet.checkpoints'], allow_failed_imports=False)

# Every config of this package stops on a loss that is not finite and on a head whose
# number of classes is not the data set's; mmdet has both hooks, but switches neither on.
custom_hooks = [
    dict(type='CheckInvalidLossHook', interval=10),
    dict(type='NumClassCheckHook'),
]
custom_imports = dict(imports=['mmdet_detnet'], allow_failed_imports=False)

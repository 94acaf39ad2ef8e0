# Scope of mmpretrain; mmdet's types have a prefix. Other settings are mmengine's defaults.
_base_ = './safety_hooks.py'
default_scope = 'mmpretrain'
default_hooks = dict(
    _base_.safety_hooks,
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(_base_.safety_hooks.checkpoint, max_keep_ckpts=3),
)
custom_hooks = [
    dict(type='mmdet.NumClassCheckHook'),
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'
load_from = None
resume = False

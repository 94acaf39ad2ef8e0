# For your own dataset: keeps the best checkpoint and the last two.
_base_ = './default_runtime.py'
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP', rule='greater'),
)
# For custom_hooks: stop if AP does not improve by 0.1 points in ten validations.
early_stopping = dict(
    type='EarlyStoppingHook',
    monitor='coco/bbox_mAP',
    rule='greater',
    min_delta=0.001,
    patience=10,
)
# For custom_hooks: validates and saves an average of the weights, over the last 100 iterations or
# so, fewer in the first 500.
weight_average = dict(
    type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.01, gamma=100, update_buffers=True
)
# COCO's palette ends after 80 classes.
visualizer = dict(bbox_color='random', mask_color='random')

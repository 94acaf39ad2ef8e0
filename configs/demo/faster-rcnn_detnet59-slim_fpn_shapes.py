_base_ = [
    '../_base_/models/faster-rcnn_detnet59-slim_fpn.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/schedule_adamw_cosine.py',
    '../_base_/default_runtime.py',
]
# Class-agnostic boxes and a higher rate learn faster in a training run of a few minutes.
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(reg_class_agnostic=True),
    )
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
default_hooks = dict(
    acceleration=dict(_base_.acceleration, train_dtype='auto'),
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater'),
)
randomness = dict(seed=0)

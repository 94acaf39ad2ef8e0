# The settings of the authors' published configs: images of 1024 x 608, a batch of 16 on one GPU,
# learning rate 0.01, 500 iterations of warm-up, 24 epochs with steps after 16 and 22, no gradient
# clipping. Except for the image size, these are mmdet's RetinaNet 2x; on more GPUs, divide the 16.
_base_ = [
    '../_base_/models/retinanet-conf_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_2x.py',
    '../_base_/default_runtime.py',
]
image_scale = (1024, 608)
_base_.train_dataloader.dataset.pipeline[2].scale = image_scale
_base_.val_dataloader.dataset.pipeline[1].scale = image_scale
_base_.test_dataloader.dataset.pipeline[1].scale = image_scale
train_dataloader = dict(batch_size=16, num_workers=4)
optim_wrapper = dict(optimizer=dict(lr=0.01))

# The paper's baseline: ResNet-50 instead of DetNet-59, trained in the same way (stem and all batch
# norm frozen).
_base_ = './faster-rcnn_detnet59_fpn_2x_coco.py'
strides = [4, 8, 16, 32, 64]
model = dict(
    backbone=dict(
        _base_.detnet59,
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
    rpn_head=dict(anchor_generator=dict(strides=strides)),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides[:4])),
)

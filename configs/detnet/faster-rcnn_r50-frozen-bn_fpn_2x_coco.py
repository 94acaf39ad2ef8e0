# The paper's baseline: ResNet-50 instead of DetNet-59, trained in the same way (stem and all batch
# norm frozen).
_base_ = './faster-rcnn_detnet59_fpn_2x_coco.py'
_base_.detnet59.update(
    type='ResNet', init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'), depth=50
)
strides = [4, 8, 16, 32, 64]
model = dict(
    backbone=_base_.detnet59,
    neck=dict(in_channels=[256, 512, 1024, 2048]),
    rpn_head=dict(anchor_generator=dict(strides=strides)),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides[:4])),
)

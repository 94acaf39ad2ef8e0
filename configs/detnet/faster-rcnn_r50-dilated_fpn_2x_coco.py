# The control of the paper's Table 6: ResNet-50 with its ImageNet weights and dilation 2 instead of
# a stride in its last stage. P6 is a pooled P5, as in FPN; the paper's is not known.
_base_ = './faster-rcnn_detnet59_fpn_2x_coco.py'
model = dict(
    backbone=dict(
        _base_.detnet59,
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 16, 32])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 16])),
)

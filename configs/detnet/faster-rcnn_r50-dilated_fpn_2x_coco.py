# The control of the paper's Table 6: ResNet-50 with its ImageNet weights and dilation 2 instead of
# a stride in its last stage. P6 is a pooled P5, as in FPN; the paper's is not known.
_base_ = './faster-rcnn_r50-frozen-bn_fpn_2x_coco.py'
model = dict(
    backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 16, 32])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 16])),
)

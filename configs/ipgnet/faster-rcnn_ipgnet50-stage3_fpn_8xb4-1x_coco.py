# Stage 3 alone (mmdet's index 2, stride 16), from ImageNet weights.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

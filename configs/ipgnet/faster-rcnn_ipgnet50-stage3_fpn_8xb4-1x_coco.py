# Stage 3 alone, from ImageNet weights. mmdet's index of it is 2, its stride 16.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

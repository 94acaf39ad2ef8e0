_base_ = './faster-rcnn_ipgnet101_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

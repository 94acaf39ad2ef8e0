# The paper's detector for COCO test-dev. Stage 3 has mmdet's index 2 and stride 16.
_base_ = './cascade-rcnn_ipgnet101_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

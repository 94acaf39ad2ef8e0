# The baseline of the paper's Table 5: the same seven stages without guidance.
_base_ = './retinanet_ipgnet50-deep-levels_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fused_stages=()))

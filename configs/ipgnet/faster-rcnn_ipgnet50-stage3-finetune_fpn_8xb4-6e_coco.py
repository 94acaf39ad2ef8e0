# The best single stage of the paper's Table 4; other rows use stage 1, 2 or 4.
_base_ = './faster-rcnn_ipgnet50-finetune_fpn_8xb4-6e_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

# The best single stage of the paper's Table 4; its other rows have the stages 1, 2 and 4.
_base_ = './faster-rcnn_ipgnet50-finetune_fpn_8xb4-6e_coco.py'
model = dict(backbone=dict(fused_stages=(3,)))

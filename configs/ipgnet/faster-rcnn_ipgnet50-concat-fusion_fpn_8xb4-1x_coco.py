# The paper's equation 4 with the 3x3 convolutions of its Fig. 3; its Table 2 compares the three.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
model = dict(backbone=dict(fusion='concat'))

# The paper has no results for DetNet-110, and no ImageNet weights are published.
_base_ = './faster-rcnn_detnet59-r50-init_fpn_1x_coco.py'
model = dict(backbone=dict(depth=110, init_cfg=dict(checkpoint='torchvision://resnet101')))

# The paper trained no DetNet-110, and nobody published ImageNet weights of one.
_base_ = './faster-rcnn_detnet59-r50-init_fpn_1x_coco.py'
model = dict(backbone=dict(depth=110, init_cfg=dict(checkpoint='torchvision://resnet101')))

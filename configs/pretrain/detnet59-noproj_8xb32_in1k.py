# ImageNet weights for faster-rcnn_detnet59-noproj_fpn_1x_coco.py.
_base_ = './detnet59_8xb32_in1k.py'
model = dict(backbone=dict(projection='stage5'))

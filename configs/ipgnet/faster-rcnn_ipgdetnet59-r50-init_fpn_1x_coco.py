# DetNet with guidance of its C3, C4 and C5; neither paper has it.
_base_ = '../detnet/faster-rcnn_detnet59-r50-init_fpn_1x_coco.py'
model = dict(backbone=dict(type='mmdet_detnet.IPGDetNet'))

# DetNet with guidance of C3, C4 and C5 (in neither paper).
_base_ = '../detnet/faster-rcnn_detnet59-r50-init_fpn_1x_coco.py'
model = dict(backbone=dict(type='mmdet_detnet.IPGDetNet'))

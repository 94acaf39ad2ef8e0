# The same trunk with the guidance of the image pyramid at stages 2 to 4.
_base_ = './faster-rcnn_r50-slim_fpn_custom.py'
model = dict(backbone=dict(type='mmdet_detnet.IPGNet'))

# The slim ResNet-50 with the guidance of the image pyramid at stages 2 to 4.
_base_ = './faster-rcnn_detnet59-slim_fpn_custom.py'
trunk = _base_.slim_r50.backbone
model = dict(_base_.slim_r50, backbone=dict(trunk, type='mmdet_detnet.IPGNet'))

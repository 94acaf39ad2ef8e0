# A slim ResNet-50, the baseline of the other slim backbones.
_base_ = './faster-rcnn_detnet59-slim_fpn_custom.py'
model = _base_.slim_r50

# Not in the paper. The levels start at P3, and a stride-2 convolution on C6 adds a fifth: anchor
# sizes 32 to 512 as on ResNet-50, strides 8, 16, 16, 16, 32 instead of 8 to 128.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './detnet59_fpn.py']
model = dict(
    backbone=_base_.detnet59,
    neck=dict(in_channels=_base_.detnet_channels),
    bbox_head=dict(
        anchor_generator=dict(strides=[8, 16, 16, 16, 32], base_sizes=[8, 16, 32, 64, 128])
    ),
)

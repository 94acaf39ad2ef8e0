# A slim ResNet-50, the baseline of the other slim backbones.
_base_ = './faster-rcnn_detnet59-slim_fpn_custom.py'
strides = [4, 8, 16, 32, 64]
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        base_channels=16,
        norm_eval=False,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
    rpn_head=dict(anchor_generator=dict(strides=strides, base_sizes=strides)),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides[:4])),
)

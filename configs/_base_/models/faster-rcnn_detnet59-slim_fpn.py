# A quarter of DetNet-59's width and narrow heads: trains from scratch on a CPU, for small images.
# Anchors have half the usual sizes, 16 to 256 pixels.
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './detnet59_fpn.py']
num_classes = 3
neck_channels = 64
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=dict(
        _delete_=True,
        type='mmdet_detnet.DetNet',
        depth=59,
        base_channels=16,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        frozen_stages=-1,
    ),
    neck=dict(in_channels=[64, 128, 256, 256, 256], out_channels=neck_channels),
    rpn_head=dict(
        in_channels=neck_channels,
        feat_channels=neck_channels,
        anchor_generator=dict(_base_.detnet_anchors, scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=neck_channels, featmap_strides=_base_.detnet_strides, finest_scale=16
        ),
        bbox_head=dict(in_channels=neck_channels, fc_out_channels=256, num_classes=num_classes),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)
# For a ResNet-50 as slim: `model = _base_.slim_r50`.
slim_r50 = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=50, base_channels=16, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512]),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64], base_sizes=[4, 8, 16, 32, 64])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 32])),
)

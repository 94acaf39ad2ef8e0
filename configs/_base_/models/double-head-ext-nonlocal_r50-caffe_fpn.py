# The detector of the Double-Head authors' code, a fork of maskrcnn-benchmark: Ext with 3 residual
# and 2 non-local blocks on Caffe2's ResNet.
_base_ = './double-head_r50_fpn.py'
model = dict(
    data_preprocessor=dict(
        mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
    ),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
    rpn_head=dict(
        anchor_generator=dict(type='mmdet_detnet.DetectronAnchorGenerator'),
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            type='mmdet_detnet.DetectronRoIExtractor',
            roi_layer=dict(sampling_ratio=2, aligned=False),
        ),
        bbox_head=dict(**_base_.double_head_ext, num_convs=2, num_nonlocal=2),
    ),
    # The RPN trains on anchors inside the image only.
    train_cfg=dict(rpn=dict(allowed_border=0)),
)

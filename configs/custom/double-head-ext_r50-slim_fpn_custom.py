# Double-Head-Ext on the slim ResNet-50, with equally narrow heads.
_base_ = ['./faster-rcnn_detnet59-slim_fpn_custom.py', '../_base_/models/double_head.py']
slim = dict(
    in_channels=64,
    conv_out_channels=256,
    fc_out_channels=256,
    num_classes=len(_base_.class_names),
)
model = dict(
    _base_.slim_r50,
    roi_head=dict(
        _base_.slim_r50.roi_head,
        type='mmdet_detnet.DoubleHeadRoIHead',
        reg_roi_scale_factor=1.3,
        bbox_roi_extractor=dict(
            _base_.slim_r50.roi_head.bbox_roi_extractor, type='mmdet_detnet.PreciseRoIExtractor'
        ),
        bbox_head={**_base_.double_head, **_base_.double_head_ext, **slim},
    ),
)

_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './double_head.py']
model = dict(
    roi_head=dict(
        type='mmdet_detnet.DoubleHeadRoIHead',
        reg_roi_scale_factor=_base_.reg_roi_scale_factor,
        bbox_head=_base_.double_head,
    )
)

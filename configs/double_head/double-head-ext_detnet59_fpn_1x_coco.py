_base_ = [
    '../_base_/models/faster-rcnn_detnet59_fpn.py',
    '../_base_/models/double_head.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
model = dict(
    roi_head=dict(
        type='mmdet_detnet.DoubleHeadRoIHead',
        reg_roi_scale_factor=_base_.reg_roi_scale_factor,
        bbox_head=dict(**_base_.double_head, **_base_.double_head_ext),
    )
)

_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    '../_base_/models/cascade_double_head.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
model = dict(
    roi_head=dict(
        _base_.cascade_double_head_roi_head,
        mask_roi_extractor=dict(type='mmdet_detnet.PreciseRoIExtractor'),
    )
)

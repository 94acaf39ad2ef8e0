# Double-Head in each stage of Cascade R-CNN. As in mmdet's, box targets get narrower from stage to
# stage, and boxes are class-agnostic.
_base_ = './double_head.py'
_base_.double_head.reg_class_agnostic = True
coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4)
cascade_double_head_roi_head = dict(
    type='mmdet_detnet.CascadeDoubleHeadRoIHead',
    reg_roi_scale_factor=_base_.double_head_roi_head.reg_roi_scale_factor,
    bbox_roi_extractor=_base_.double_head_roi_head.bbox_roi_extractor,
    bbox_head=[
        dict(**_base_.double_head, bbox_coder=dict(**coder, target_stds=stds))
        for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
    ],
)

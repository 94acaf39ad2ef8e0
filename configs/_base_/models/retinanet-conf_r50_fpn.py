# The authors' values, which are also the defaults.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(
    bbox_head=dict(
        type='mmdet_detnet.ConfidenceRetinaHead',
        conf_exponent=0.4,
        select_by='joint',
        detach_iou_target=False,
        loss_conf=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    )
)

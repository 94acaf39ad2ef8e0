# DetNet with guidance of C3, C4 and C5 (in neither paper).
# Batch norm learns, as in faster-rcnn_detnet59-r50-init_fpn_1x_coco.py.
_base_ = '../detnet/faster-rcnn_detnet59_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        type='mmdet_detnet.IPGDetNet',
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet50'),
    )
)

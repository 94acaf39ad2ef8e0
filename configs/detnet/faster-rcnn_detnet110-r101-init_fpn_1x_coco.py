# The paper has no results for DetNet-110, and no ImageNet weights are published.
# Batch norm learns, as in faster-rcnn_detnet59-r50-init_fpn_1x_coco.py.
_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        depth=110,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet101'),
    )
)

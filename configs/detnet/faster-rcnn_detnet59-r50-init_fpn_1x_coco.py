# Needs no ImageNet weights of DetNet: stages 1 to 4 start from torchvision's ResNet-50. Batch norm
# is trained, because stages 5 and 6 have no statistics, and synchronized over GPUs.
_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet50'),
    )
)

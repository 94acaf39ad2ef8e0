# Needs no ImageNet weights of DetNet: stages 1 to 4 start from torchvision's ResNet-50. Batch norm
# has to learn, since stages 5 and 6 bring no statistics; over 8 GPUs it is synchronized.
_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet50'),
    )
)

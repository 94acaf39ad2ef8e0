# DetNet-59 at full width on one GPU: stages 1 to 4 start from torchvision's ResNet-50, and batch
# norm is trained because stages 5 and 6 have no statistics.
_base_ = ['../_base_/models/faster-rcnn_detnet59_fpn.py', '../_base_/custom_full_width.py']
model = dict(
    backbone=dict(
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    roi_head=dict(bbox_head=dict(num_classes=len(_base_.class_names))),
)

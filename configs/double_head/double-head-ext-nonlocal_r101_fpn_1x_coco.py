# The conv-head of the authors' models: 3 residual and 2 non-local blocks.
_base_ = './double-head-ext_r50_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')
    ),
    roi_head=dict(bbox_head=dict(num_convs=2, num_nonlocal=2)),
)

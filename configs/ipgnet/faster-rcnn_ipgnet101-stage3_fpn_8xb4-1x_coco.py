_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
model = dict(
    backbone=dict(
        depth=101,
        fused_stages=(3,),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    )
)

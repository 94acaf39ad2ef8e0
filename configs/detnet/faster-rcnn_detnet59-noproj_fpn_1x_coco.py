_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
# The weights must also be from a network without the projection.
model = dict(
    backbone=dict(
        projection='stage5', init_cfg=dict(checkpoint='checkpoints/detnet59-noproj_imagenet.pth')
    )
)

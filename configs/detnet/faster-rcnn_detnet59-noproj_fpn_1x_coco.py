_base_ = './faster-rcnn_detnet59_fpn_1x_coco.py'
# The weights must come from a network without the projection, too.
model = dict(
    backbone=dict(
        projection='stage5', init_cfg=dict(checkpoint='checkpoints/detnet59-noproj_imagenet.pth')
    )
)

# Common settings of detectors on DetNet-59. Levels P4, P5 and P6 share one stride and differ only
# in anchor size (32 to 512 in all), so both strides and sizes are set, and the strides also in the
# RoI extractors.
detnet59 = dict(
    _delete_=True,
    type='mmdet_detnet.DetNet',
    depth=59,
    # As in the paper, stem and batch norm are frozen. This needs ImageNet weights of DetNet itself,
    # see configs/detnet/README.md.
    frozen_stages=0,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/detnet59_imagenet.pth'),
)
detnet_channels = [256, 512, 1024, 1024, 1024]
detnet_strides = [4, 8, 16, 16, 16]
detnet_anchors = dict(strides=detnet_strides, base_sizes=[4, 8, 16, 32, 64])
# RoIs are pooled from P2 to P5, as in FPN; we do not know the paper's levels. With
# `detnet_strides`, RoIs of 896 pixels and more use P6.
detnet_roi_strides = detnet_strides[:4]
# Numbers of proposals in the paper, for its schedule: `model = _base_.detnet_proposals`.
detnet_proposals = dict(
    train_cfg=dict(rpn_proposal=dict(nms_pre=12000, max_per_img=2000)),
    test_cfg=dict(rpn=dict(nms_pre=6000, max_per_img=1000)),
)

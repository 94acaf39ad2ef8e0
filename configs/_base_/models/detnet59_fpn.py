# What every detector on DetNet-59 shares. Levels P4, P5 and P6 have one stride and differ in the
# size of their anchors only (32 to 512), so strides and sizes are both given, and the strides
# once more to the RoI extractors.
detnet59 = dict(
    _delete_=True,
    type='mmdet_detnet.DetNet',
    depth=59,
    # The paper trains neither the stem nor any batch norm. That needs ImageNet weights of
    # DetNet itself, see configs/detnet/README.md.
    frozen_stages=0,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/detnet59_imagenet.pth'),
)
detnet_channels = [256, 512, 1024, 1024, 1024]
detnet_strides = [4, 8, 16, 16, 16]
detnet_anchors = dict(strides=detnet_strides, base_sizes=[4, 8, 16, 32, 64])
# RoIs are pooled from P2 to P5, as in FPN; what the paper does is not known to us. With
# `detnet_strides`, those of 896 pixels and more go to P6.
detnet_roi_strides = detnet_strides[:4]
# The paper's numbers of proposals, for its training schedule: `model = _base_.detnet_proposals`.
detnet_proposals = dict(
    train_cfg=dict(rpn_proposal=dict(nms_pre=12000, max_per_img=2000)),
    test_cfg=dict(rpn=dict(nms_pre=6000, max_per_img=1000)),
)

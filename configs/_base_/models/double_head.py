# Common settings of detectors with two heads. The loss weights are the paper's w_fc and w_conv; the
# first block and 4 bottlenecks are its 5 residual blocks.
double_head = dict(
    type='mmdet_detnet.DoubleConvFCBBoxHead',
    num_convs=4,
    num_fcs=2,
    in_channels=256,
    conv_out_channels=1024,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=2.5),
)
# Double-Head-Ext: the effective weights are 1.4, 0.6, 0.5 and 2.0.
double_head_ext = dict(lambda_fc=0.7, lambda_conv=0.8, fusion='complementary')
# RoIs are enlarged for the conv-head as in the authors' code and in mmdet.
double_head_roi_head = dict(
    type='mmdet_detnet.DoubleHeadRoIHead',
    reg_roi_scale_factor=1.3,
    bbox_roi_extractor=dict(type='mmdet_detnet.PreciseRoIExtractor'),
    bbox_head=double_head,
)
double_head_ext_roi_head = dict(
    double_head_roi_head, bbox_head=dict(**double_head, **double_head_ext)
)

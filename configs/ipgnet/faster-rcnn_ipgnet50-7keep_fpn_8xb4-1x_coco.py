# Seven stages, the last four at stride 32; their levels differ only in anchor size (32 to 1024
# pixels in all). The authors' code uses anchor strides 32, 64, 128 and 128. The last two levels
# have only anchors: FPN's rule would give them RoIs of 1792 pixels and more.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
strides = [4, 8, 16, 32, 32, 32, 32]
model = dict(
    backbone=dict(num_stages=7, keep_stride=True, out_indices=(0, 1, 2, 3, 4, 5, 6)),
    neck=dict(in_channels=[256, 512, 1024, 2048, 2048, 2048, 2048], num_outs=7),
    rpn_head=dict(anchor_generator=dict(strides=strides, base_sizes=[4, 8, 16, 32, 64, 96, 128])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides[:5])),
)

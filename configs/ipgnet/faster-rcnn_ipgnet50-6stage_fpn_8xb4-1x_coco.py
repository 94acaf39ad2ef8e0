# Stages 5 and 6 at strides 64 and 128. The sixth level has only anchors: FPN's rule would give it
# RoIs of 1792 pixels and more.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
strides = [4, 8, 16, 32, 64, 128]
model = dict(
    backbone=dict(num_stages=6, out_indices=(0, 1, 2, 3, 4, 5)),
    neck=dict(in_channels=[256, 512, 1024, 2048, 2048, 2048], num_outs=6),
    rpn_head=dict(anchor_generator=dict(strides=strides)),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides[:5])),
)

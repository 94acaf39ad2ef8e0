# A fifth stage at stride 64 instead of FPN's pooled level.
_base_ = './faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py'
model = dict(
    backbone=dict(num_stages=5, out_indices=(0, 1, 2, 3, 4)),
    neck=dict(in_channels=[256, 512, 1024, 2048, 2048]),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 32, 64])),
)

# Group norm in the conv-head, so it trains on positive RoIs only, with the same losses.
_base_ = './double-head_r50_fpn_1x_coco.py'
model = dict(
    roi_head=dict(bbox_head=dict(norm_cfg=dict(type='GN', num_groups=32, requires_grad=True)))
)

_base_ = './double-head_r50_fpn_1x_coco.py'
model = dict(roi_head=dict(bbox_head=_base_.double_head_ext))

# The conv-head of the authors' models: 3 residual and 2 non-local blocks.
_base_ = './double-head-ext_r50_fpn_1x_coco.py'
model = dict(roi_head=dict(bbox_head=dict(num_convs=2, num_nonlocal=2)))

# The loss weights of mmdet's dh-faster-rcnn_r50_fpn_1x_coco.py, whose checkpoint loads.
_base_ = './double-head_r50_fpn_1x_coco.py'
model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(loss_weight=2.0))))

_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './double_head.py']
model = dict(roi_head=_base_.double_head_roi_head)

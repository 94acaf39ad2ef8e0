# Not in the paper: mmdet's ATSS, with the joint score instead of centerness at test time.
_base_ = ['mmdet::atss/atss_r50_fpn_1x_coco.py', '../_base_/safety_hooks.py']
model = dict(bbox_head=dict(type='mmdet_detnet.ConfidenceATSSHead'))
default_hooks = _base_.safety_hooks

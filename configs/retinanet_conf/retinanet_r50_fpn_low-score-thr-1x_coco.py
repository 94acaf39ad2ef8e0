# The control: mmdet's RetinaNet at a threshold as low as RetinaNet-Conf's. There, a joint score of
# 0.05 means a class score of 0.0068 at confidence 1 and 0.0108 at 0.5. The control uses the lowest,
# to keep every candidate. Only testing differs from mmdet's config.
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/safety_hooks.py']
conf_exponent = 0.4
model = dict(test_cfg=dict(score_thr=0.05 ** (1 / (1 - conf_exponent))))
default_hooks = _base_.safety_hooks

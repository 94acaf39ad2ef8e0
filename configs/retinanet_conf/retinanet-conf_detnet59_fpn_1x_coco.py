# Not in the paper. The DetNet configs' README says where the backbone's weights come from.
_base_ = '../detnet/retinanet_detnet59_fpn_1x_coco.py'
model = dict(bbox_head=dict(type='mmdet_detnet.ConfidenceRetinaHead'))

# IPGNet-50, guided at stages 2 to 4, at full width on one GPU, from torchvision's ResNet-50.
_base_ = ['../_base_/models/faster-rcnn_ipgnet50_fpn.py', '../_base_/custom_full_width.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.class_names))))

# Double-Head-Ext at full width on one GPU, from torchvision's ResNet-50.
_base_ = ['../_base_/models/double-head_r50_fpn.py', '../_base_/custom_full_width.py']
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=len(_base_.class_names), **_base_.double_head_ext))
)

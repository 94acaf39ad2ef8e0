# Like faster-rcnn_detnet59-slim_fpn_custom.py, for a slim RetinaNet with the confidence branch:
# copy this file and change the first three lines.
data_root = 'data/bccd/'
class_names = ('RBC', 'WBC', 'Platelets')  # in the order of the annotation files
max_epochs = 60

_base_ = [
    '../_base_/models/retinanet-conf_r50_fpn.py',
    '../_base_/datasets/custom_detection.py',
    '../_base_/schedules/schedule_adamw_cosine.py',
    '../_base_/custom_runtime.py',
]
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
_base_.param_scheduler[1].T_max = max_epochs
default_hooks = dict(acceleration=_base_.acceleration)
channels = 64
model = dict(
    backbone=dict(base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=channels),
    bbox_head=dict(num_classes=len(class_names), in_channels=channels, feat_channels=channels),
)
dataset = dict(
    data_root=data_root, metainfo=dict(classes=class_names), data_prefix=dict(img='images/')
)
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **dataset))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **dataset))
test_dataloader = dict(dataset=dict(ann_file='annotations/test.json', **dataset))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')

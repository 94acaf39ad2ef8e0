# Your own dataset in COCO format: copy this file and change the first three lines. The
# annotation files are {data_root}annotations/{train,val,test}.json, the images {data_root}images/.
data_root = 'data/bccd/'
class_names = ('RBC', 'WBC', 'Platelets')  # in the order of the annotation files
max_epochs = 60

_base_ = [
    '../_base_/models/faster-rcnn_detnet59-slim_fpn.py',
    '../_base_/datasets/custom_detection.py',
    '../_base_/schedules/schedule_adamw_cosine.py',
    '../_base_/custom_runtime.py',
]
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
_base_.param_scheduler[1].T_max = max_epochs
default_hooks = dict(acceleration=_base_.acceleration)
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(class_names))))
dataset = dict(
    data_root=data_root, metainfo=dict(classes=class_names), data_prefix=dict(img='images/')
)
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **dataset))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **dataset))
test_dataloader = dict(dataset=dict(ann_file='annotations/test.json', **dataset))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')

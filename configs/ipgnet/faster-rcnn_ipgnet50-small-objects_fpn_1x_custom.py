# Small objects: your tiles or high-resolution images in COCO format, {data_root}images/ and
# {data_root}annotations/{train,val,test}.json. Copy this file and change the next two lines.
data_root = 'data/tiles/'
class_names = ('vehicle', 'vessel')  # in the order of the annotation files

_base_ = [
    '../_base_/models/faster-rcnn_ipgnet50-small-objects_fpn.py',
    '../_base_/datasets/tiles_detection.py',  # its image_scale is the size of your tiles
    '../_base_/schedules/schedule_ipgnet.py',
    '../_base_/default_runtime.py',
]
auto_scale_lr = dict(enable=True)  # scales the learning rate to GPUs and batch size
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(class_names))))
data = dict(data_root=data_root, metainfo=dict(classes=class_names))
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **data))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **data))
test_dataloader = dict(dataset=dict(ann_file='annotations/test.json', **data))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')

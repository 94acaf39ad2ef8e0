# Your own dataset, for full-width detectors that start from torchvision's ResNet, on one GPU: copy
# this file and change its first three values.
_base_ = [
    './datasets/custom_detection.py',
    './schedules/schedule_adamw_cosine.py',
    './custom_runtime.py',
]
data_root = 'data/bccd/'
class_names = ('RBC', 'WBC', 'Platelets')  # in the order of the annotation files
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
_base_.param_scheduler[1].T_max = max_epochs
optim_wrapper = dict(optimizer=dict(lr=1e-4))
image_scale = (1333, 800)
_base_.train_dataloader.dataset.pipeline[2].scale = image_scale
_base_.val_dataloader.dataset.pipeline[1].scale = image_scale
_base_.test_dataloader.dataset.pipeline[1].scale = image_scale
dataset = dict(
    data_root=data_root, metainfo=dict(classes=class_names), data_prefix=dict(img='images/')
)
train_dataloader = dict(batch_size=4, dataset=dict(ann_file='annotations/train.json', **dataset))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **dataset))
test_dataloader = dict(dataset=dict(ann_file='annotations/test.json', **dataset))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
auto_scale_lr = dict(base_batch_size=4)

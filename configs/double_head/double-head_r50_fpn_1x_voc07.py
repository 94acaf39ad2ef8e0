# VOC 2007 only, as in the paper, with mmdet's VOC settings and images of 1000 x 600. We do not know
# the paper's settings for VOC.
_base_ = [
    '../_base_/models/double-head_r50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_voc.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
voc2007 = _base_.train_dataloader.dataset.dataset.datasets[0]
train_dataloader = dict(dataset=dict(dataset=dict(datasets=[voc2007])))

# The training that fits the paper's Table 4: 6 epochs from the trained baseline, whose outputs the
# guided network has at the start.
_base_ = [
    '../_base_/models/faster-rcnn_ipgnet50_fpn.py',
    '../_base_/datasets/coco_detection_8xb4.py',
    '../_base_/schedules/schedule_ipgnet_finetune.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(zero_init_guidance=True, init_cfg=None))
load_from = 'work_dirs/faster-rcnn_r50_fpn_8xb4-1x_coco/epoch_12.pth'

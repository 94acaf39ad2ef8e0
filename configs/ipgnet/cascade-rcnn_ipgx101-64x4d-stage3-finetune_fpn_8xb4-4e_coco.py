# From the authors' experiment log, where the paper names IPG-Net-101: a ResNeXt, fine-tuned for 4
# epochs from mmdet's Cascade Mask R-CNN without its mask heads.
_base_ = [
    '../_base_/models/cascade-rcnn_ipgnet50_fpn.py',
    '../_base_/datasets/coco_detection_8xb4.py',
    '../_base_/schedules/schedule_ipgnet_finetune.py',
    '../_base_/default_runtime.py',
]
trunk = dict(type='mmdet_detnet.IPGResNeXt', depth=101, groups=64, base_width=4, init_cfg=None)
model = dict(backbone=dict(**trunk, fused_stages=(3,), zero_init_guidance=True))
train_cfg = dict(max_epochs=4)
_x101 = 'cascade_mask_rcnn_x101_64x4d_fpn_20e_coco'
load_from = (
    f'https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/{_x101}/'
    f'{_x101}_20200512_161033-bdb5126a.pth'
)

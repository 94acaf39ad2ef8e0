"""Configs of every backbone with every detector, as a user would write them."""

from mmdet_detnet import config_path

DOUBLE_HEAD = config_path('_base_/models/double_head.py')
# Of each backbone its options, and channels of its outputs from C2 on.
RESNET = [256, 512, 1024, 2048]
BACKBONES = {
    'ResNet-50': ("type='ResNet', depth=50", RESNET),
    'DetNet-59': (
        "type='mmdet_detnet.DetNet', depth=59, frozen_stages=-1, norm_eval=False",
        [256, 512, 1024, 1024, 1024],
    ),
    'IPGNet-50': ("type='mmdet_detnet.IPGNet', depth=50", RESNET),
    'Swin-T': ("_delete_=True, type='SwinTransformer', depths=[2, 2, 6, 2]", [96, 192, 384, 768]),
    'ResNeXt-50': ("type='ResNeXt', depth=50, groups=32, base_width=4", RESNET),
}
DILATED = ('DetNet-59',)  # stays at stride 16
# Of each detector mmdet's config, what its levels are (from C2 for RoIs, else from C3), and options
# of the RoI head or the head.
FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
DETECTORS = {
    'Faster R-CNN': (FASTER_RCNN, 'rois', []),
    'Mask R-CNN': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'rois', []),
    'Cascade R-CNN': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'rois', []),
    'Double-Head': (FASTER_RCNN, 'rois', ['**_base_.double_head_roi_head']),
    'Double-Head-Ext': (FASTER_RCNN, 'rois', ['**_base_.double_head_ext_roi_head']),
    'RetinaNet': ('retinanet/retinanet_r50_fpn_1x_coco.py', 'anchors', []),
    'RetinaNet-Conf': (
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        'anchors',
        ["type='mmdet_detnet.ConfidenceRetinaHead'"],
    ),
    'ATSS': ('atss/atss_r50_fpn_1x_coco.py', 'anchors', []),
    'ATSS-Conf': (
        'atss/atss_r50_fpn_1x_coco.py',
        'anchors',
        ["type='mmdet_detnet.ConfidenceATSSHead'"],
    ),
    'GFL': ('gfl/gfl_r50_fpn_1x_coco.py', 'anchors', []),
    'VFNet': ('vfnet/vfnet_r50_fpn_1x_coco.py', 'points', []),
    'TOOD': ('tood/tood_r50_fpn_1x_coco.py', 'anchors', []),
    'FCOS': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'points', []),
    'DINO': ('dino/dino-4scale_r50_8xb2-12e_coco.py', 'queries', []),
}
DENSE_STRIDES = 'strides=[8, 16, 16, 16, 32]'


def make_config(backbone, detector):
    """Write the config of a cell."""
    options, channels = BACKBONES[backbone]
    base, levels, head = DETECTORS[detector]
    indices = [1, 2, len(channels) - 1] if levels == 'queries' else range(len(channels))
    lines = [
        f'backbone=dict({options}, out_indices={tuple(indices)}, init_cfg=None)',
        f'neck=dict(in_channels={[channels[index] for index in indices]})',
    ]
    head = [*head]
    if backbone in DILATED and levels == 'rois':
        sizes = 'dict(strides=[4, 8, 16, 16, 16], base_sizes=[4, 8, 16, 32, 64])'
        lines.append(f'rpn_head=dict(anchor_generator={sizes})')
        for name in ('bbox', 'mask')[: 1 + (detector == 'Mask R-CNN')]:
            head.append(f'{name}_roi_extractor=dict(featmap_strides=[4, 8, 16, 16])')
    elif backbone in DILATED and levels == 'anchors':
        head.append(f'anchor_generator=dict({DENSE_STRIDES}, base_sizes=[8, 16, 32, 64, 128])')
    elif backbone in DILATED and levels == 'points':
        head.append(DENSE_STRIDES)
    if head:
        lines.append(f'{"roi" if levels == "rois" else "bbox"}_head=dict({", ".join(head)})')
    bases = [f'mmdet::{base}', *([DOUBLE_HEAD] if 'Double' in detector else [])]
    return f'_base_ = {bases if len(bases) > 1 else bases[0]!r}\nmodel = dict({", ".join(lines)})\n'

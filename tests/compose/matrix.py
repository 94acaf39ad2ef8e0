"""Configs of every backbone with every detector, as a user would write them."""

from dataclasses import dataclass

from mmdet_detnet import config_path

DOUBLE_HEAD = config_path('_base_/models/double_head.py')


@dataclass(frozen=True)
class Backbone:
    """What a config says of a backbone with outputs C2 and up.

    ``lines`` are its options, ``channels`` those of its outputs, ``slim`` makes it an eighth as
    wide. A backbone whose levels are not ResNet's is ``dilated``: it stays at stride 16.
    """

    lines: str
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    slim: str = 'base_channels=8'
    dilated: bool = False


@dataclass(frozen=True)
class Detector:
    """A config of mmdet, and where its levels are named.

    ``levels`` is 'rois' (from C2, proposals), 'anchors' or 'points' (from C3), or 'queries'.
    """

    base: str
    levels: str
    roi_head: str = ''
    extractors: tuple[str, ...] = ('bbox',)
    bbox_head: str = ''


BACKBONES = {
    'ResNet-50': Backbone("type='ResNet', depth=50"),
    'DetNet-59': Backbone(
        "type='mmdet_detnet.DetNet', depth=59, frozen_stages=-1, norm_eval=False",
        channels=(256, 512, 1024, 1024, 1024),
        dilated=True,
    ),
    'IPGNet-50': Backbone("type='mmdet_detnet.IPGNet', depth=50"),
    'Swin-T': Backbone(
        "_delete_=True, type='SwinTransformer', depths=[2, 2, 6, 2]",
        channels=(96, 192, 384, 768),
        slim='embed_dims=12',
    ),
    'ResNeXt-50': Backbone("type='ResNeXt', depth=50, groups=8, base_width=4"),
}
ONE_STAGE = "type='mmdet_detnet.ConfidenceRetinaHead'"
DETECTORS = {
    'Faster R-CNN': Detector('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'rois'),
    'Mask R-CNN': Detector(
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'rois', extractors=('bbox', 'mask')
    ),
    'Cascade R-CNN': Detector('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'rois'),
    'Double-Head': Detector(
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'rois', '_base_.double_head_roi_head'
    ),
    'Double-Head-Ext': Detector(
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'rois', '_base_.double_head_ext_roi_head'
    ),
    'RetinaNet': Detector('retinanet/retinanet_r50_fpn_1x_coco.py', 'anchors'),
    'RetinaNet-Conf': Detector(
        'retinanet/retinanet_r50_fpn_1x_coco.py', 'anchors', bbox_head=ONE_STAGE
    ),
    'ATSS': Detector('atss/atss_r50_fpn_1x_coco.py', 'anchors'),
    'ATSS-Conf': Detector(
        'atss/atss_r50_fpn_1x_coco.py',
        'anchors',
        bbox_head="type='mmdet_detnet.ConfidenceATSSHead'",
    ),
    'GFL': Detector('gfl/gfl_r50_fpn_1x_coco.py', 'anchors'),
    'VFNet': Detector('vfnet/vfnet_r50_fpn_1x_coco.py', 'points'),
    'TOOD': Detector('tood/tood_r50_fpn_1x_coco.py', 'anchors'),
    'FCOS': Detector('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'points'),
    'DINO': Detector('dino/dino-4scale_r50_8xb2-12e_coco.py', 'queries'),
}
DENSE_STRIDES = '[8, 16, 16, 16, 32]'


def make_config(backbone: Backbone, detector: Detector) -> str:
    """Write the config of a cell, with a backbone an eighth as wide."""
    bases = [f'mmdet::{detector.base}', *([DOUBLE_HEAD] if detector.roi_head else [])]
    options = f'{backbone.lines}, {backbone.slim}'
    channels = [each // 8 for each in backbone.channels]
    indices = list(range(len(channels)))
    if detector.levels == 'queries':
        indices = [1, 2, len(channels) - 1]
        channels = [channels[index] for index in indices]
    lines = [f'    backbone=dict({options}, out_indices={tuple(indices)}, init_cfg=None),']
    lines.append(f'    neck=dict(in_channels={channels}),')
    lines += _head_lines(detector, backbone.dilated)
    text = '\n'.join(['model = dict(', *lines, ')'])
    return f'_base_ = {bases if len(bases) > 1 else bases[0]!r}\n{text}\n'


def _head_lines(detector: Detector, dilated: bool) -> list[str]:
    """Write what the heads have to know of the levels, and which heads they are."""
    head = [detector.bbox_head] if detector.bbox_head else []
    roi_head = [f'**{detector.roi_head}'] if detector.roi_head else []
    lines = []
    if dilated and detector.levels == 'rois':
        sizes = 'dict(strides=[4, 8, 16, 16, 16], base_sizes=[4, 8, 16, 32, 64])'
        lines.append(f'    rpn_head=dict(anchor_generator={sizes}),')
        roi_head += [
            f'{name}_roi_extractor=dict(featmap_strides=[4, 8, 16, 16])'
            for name in detector.extractors
        ]
    if dilated and detector.levels == 'anchors':
        sizes = f'dict(strides={DENSE_STRIDES}, base_sizes=[8, 16, 32, 64, 128])'
        head.append(f'anchor_generator={sizes}')
    if dilated and detector.levels == 'points':
        head.append(f'strides={DENSE_STRIDES}')
    if roi_head:
        lines.append(f'    roi_head=dict({", ".join(roi_head)}),')
    if head:
        lines.append(f'    bbox_head=dict({", ".join(head)}),')
    return lines

"""The ResNets of mmdet's configs, made small."""

import json
from pathlib import Path

import mmdet
from mmengine.config import Config

CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
WIDTH = 8
# Of group norm and of ResNeXt's convolutions.
NUM_GROUPS = 4
# One config for each setting that matters here: what is frozen, the norm, stride, dilation, DCN,
# plugins, weight standardization, groups.
SLICE = (
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py',
    'faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py',
    'fpg/faster-rcnn_r50_fpg_crop640-50e_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    'fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    'gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',
    'gcnet/mask-rcnn_r50-syncbn-gcb-r16-c3-c5_fpn_1x_coco.py',
    'empirical_attention/faster-rcnn_r50-attn1111-dcn_fpn_1x_coco.py',
    'scratch/faster-rcnn_r50-scratch_fpn_gn-all_6x_coco.py',
    'cascade_rcnn/cascade-mask-rcnn_x101-32x8d_fpn_ms-3x_coco.py',
)


def slice_of_resnets():
    """Map the configs of the slice to their backbones."""
    return {name: small_backbone(Config.fromfile(CONFIGS / name)) for name in SLICE}


def all_resnets():
    """Map one config for each different ResNet or ResNeXt to it; reads all configs, in minutes."""
    found = {}
    for path in sorted(CONFIGS.glob('[!_]*/*.py')):
        backbone = small_backbone(read_config(path))
        if backbone and backbone['depth'] in (50, 101):
            key = json.dumps(backbone, sort_keys=True)
            found.setdefault(key, (str(path.relative_to(CONFIGS)), backbone))
    return dict(found.values())


def read_config(path):
    """Read a config; an empty one if it needs packages that are not here."""
    try:
        return Config.fromfile(path)
    except (ImportError, OSError):
        return Config()


def small_backbone(config):
    """Take the ResNet out of a detector's config, narrow and without a checkpoint, or None."""
    model = config.get('model') or {}
    backbone = (model.get('detector') or model).get('backbone')
    if not backbone or backbone.get('type') not in ('ResNet', 'ResNeXt'):
        return None
    backbone = {k: v for k, v in backbone.to_dict().items() if k not in ('init_cfg', 'pretrained')}
    for options, key in ((backbone, 'groups'), (backbone.get('norm_cfg', {}), 'num_groups')):
        if key in options:
            options[key] = NUM_GROUPS
    return {**backbone, 'base_channels': WIDTH}

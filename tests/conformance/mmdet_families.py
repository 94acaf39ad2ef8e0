"""One small detector of each model family of mmdet, made from mmdet's own configs."""

import copy
from pathlib import Path

import mmdet
import torch
from helpers import randomize
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config

CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
# Folders of datasets, trackers, teachers and text; of operators that mmcv has for GPUs only; of
# what needs other packages, given proposals or more layers; of what rounding moves (Cascade RPN),
# and of what takes minutes and gigabytes in float64 (Mask2Former, which is in a slice).
NO_FAMILIES = """_base_ albu_example boxinst bytetrack carafe cascade_rpn cityscapes common convnext
crowddet ddq deepfashion deepsort dsdl efficientnet fast_rcnn glip grounding_dino lad ld legacy_1.x
lvis mask2former mask2former_vis masktrack_rcnn misc mm_grounding_dino objects365 ocsort openimages
pascal_voc qdtrack reid resnet_strikes_back scratch seesaw_loss selfsup_pretrain simple_copy_paste
soft_teacher sort strong_baselines strongsort timm_example v3det wider_face""".split()
NUM_PROPOSALS = 20
# As many as the detections that DETRs choose from them.
NUM_QUERIES = 100
HEIGHT, WIDTH = 128, 160


def all_families():
    """Name a config of each family, one with ResNet-50 if there is one."""
    return [
        str(min(configs, key=_simplicity).relative_to(CONFIGS))
        for folder in sorted(CONFIGS.iterdir())
        if folder.name not in NO_FAMILIES and (configs := list(folder.glob('*.py')))
    ]


def _simplicity(path):
    name = path.name
    unfit = '_tta' in name or 'fast-rcnn' in name  # no detector, or given proposals
    return unfit, 'r50' not in name, 'panoptic' in name, len(name), name


def build_detector(name):
    """Build a config's detector with few layers, and weights with which scores differ."""
    model = Config.fromfile(CONFIGS / name).model
    shorten(model)
    torch.manual_seed(0)
    detector = MODELS.build(model)
    randomize(detector)
    for module in detector.modules():
        if isinstance(getattr(module, 'level_embed', None), torch.nn.Parameter):
            torch.nn.init.normal_(module.level_embed)  # DETRs leave it as the memory was
    return detector.eval()


def shorten(model):
    """Leave one layer a stage, few queries and few proposals; keep all detections."""
    if 'backbone' in model:
        model.backbone.init_cfg = None
        if model.backbone.type == 'SwinTransformer':
            model.backbone.depths = (1, 1, 1, 1)
        if model.backbone.type == 'HourglassNet':
            model.backbone.update(stage_blocks=(1,) * 6, stage_channels=(32,) * 6, feat_channel=32)
            model.bbox_head.in_channels = 32
    necks, panoptic_head = model.get('neck') or [], model.get('panoptic_head') or {}
    for part in (
        *(necks if isinstance(necks, list) else [necks]),
        panoptic_head.get('transformer_decoder', {}),
        panoptic_head.get('pixel_decoder', {}).get('encoder', {}),
        *(model.get(name) or {} for name in ('encoder', 'decoder', 'bbox_head')),
    ):
        if 'paths' in part:  # of FPG, which takes minutes a step
            part.update(stack_times=4, paths=part.paths[:4])
        elif 'stack_times' in part:  # of NAS-FPN
            part.stack_times = 1
        if not isinstance(part, list):
            part.update(
                {key: 1 for key in ('num_layers', 'num_blocks', 'stacked_convs') if part.get(key)}
            )
    if 'num_queries' in model:
        model.num_queries = NUM_QUERIES
    shorten_settings(model.get('train_cfg') or {}, model.get('test_cfg') or {})


def shorten_settings(train_cfg, test_cfg):
    stages = train_cfg.get('rcnn') or []
    for stage in stages if isinstance(stages, list) else [stages]:
        if 'num' in stage.get('sampler', {}):
            stage.sampler.num = NUM_PROPOSALS
    if 'filter_thr' in test_cfg:  # of SOLO, which resizes a mask for each
        test_cfg.nms_pre = NUM_PROPOSALS
    if test_cfg.get('rpn'):
        test_cfg.rpn.max_per_img = NUM_PROPOSALS
        test_cfg.get('rcnn', {}).update(score_thr=0, max_per_img=NUM_PROPOSALS)


def make_batch(detector):
    """Make two preprocessed images, with all kinds of annotations."""
    images = demo_mm_inputs(2, (3, HEIGHT, WIDTH), num_classes=3, with_mask=True)
    return detector.data_preprocessor(images, training=False)


@torch.no_grad()
def run(detector, batch):
    """Detect; the outputs of backbone, neck and dense heads, and the best scores of each image."""
    maps = []
    parts = [getattr(detector, name) for name in ('backbone', 'neck') if hasattr(detector, name)]
    dense_heads = [m for m in detector.modules() if isinstance(m, BaseDenseHead)]
    handles = [
        part.register_forward_hook(lambda module, inputs, outputs: maps.extend(tensors(outputs)))
        for part in (*parts, *dense_heads)
    ]
    found = detector(**copy.deepcopy(batch), mode='predict')
    for handle in handles:
        handle.remove()
    instances = [sample.pred_instances for sample in found if 'pred_instances' in sample]
    scores = [
        each.scores.sort(descending=True).values[:3] for each in instances if 'scores' in each
    ]
    return maps, scores


def tensors(value):
    """Copy all floating-point tensors in nested containers: YOLOv3's head decodes in place."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for each in value for tensor in tensors(each)]
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return [value.detach().clone()]
    return []

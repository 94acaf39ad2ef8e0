"""The Double-Head authors' detectors, from wuyuebupt/doubleheadsrcnn, a maskrcnn-benchmark.

Backbone, FPN and RPN have mmdet's tensors. Only batch counters are missing, because the norms are
fixed, and the anchors, which mmdet computes, are stored as well. The RoI head has the feature
extractor ``FPN2MLPFeatureExtractorNeighbor`` and the predictor ``FPNPredictorNeighbor``. Background
is the first class there and the last one here. There, it also has unused rows in the box layers.
"""

import re
from collections.abc import Callable, Mapping

from mmdet.models import FPN, ResNet, RPNHead
from torch import Tensor, nn

from mmdet_detnet.models import DoubleConvFCBBoxHead

from .conversion import WeightSource

OWN_HEAD = 'roi_head.bbox_head.'
HEAD_PLACE = 'roi_heads.box.'
# In the file, the head's names start with its place in the detector.
HEAD_KEY = re.compile(r'(.*?)(?:feature_extractor|predictor)\..+')
BLOCKS_TO_DEPTH = {6: 50, 23: 101}
CLASS_LAYERS = ('fc_cls', 'unfocused_cls.fc_cls')
BOX_LAYERS = ('fc_reg', 'unfocused_reg.fc_reg')
BOX_PARAMETERS = 4
STACK = r'feature_extractor.shared_nonlocal.\1.'
# Patterns of our names, and theirs.
HEAD_NAMES = {
    r'res_block\.conv1\.conv': 'feature_extractor.nonlocal_conv.bottom.0',
    r'res_block\.conv1\.bn': 'feature_extractor.nonlocal_conv.bottom.1',
    r'res_block\.conv2\.conv': 'feature_extractor.nonlocal_conv.bottom.3',
    r'res_block\.conv2\.bn': 'feature_extractor.nonlocal_conv.bottom.4',
    r'res_block\.conv_identity\.conv': 'feature_extractor.nonlocal_conv.top.0',
    r'res_block\.conv_identity\.bn': 'feature_extractor.nonlocal_conv.top.1',
    r'conv_branch\.(\d+)\.conv1': f'{STACK}ffconv.bottleneck.0',
    r'conv_branch\.(\d+)\.bn1': f'{STACK}ffconv.bottleneck.1',
    r'conv_branch\.(\d+)\.conv2': f'{STACK}ffconv.bottleneck.3',
    r'conv_branch\.(\d+)\.bn2': f'{STACK}ffconv.bottleneck.4',
    r'conv_branch\.(\d+)\.conv3': f'{STACK}ffconv.bottleneck.6',
    r'conv_branch\.(\d+)\.bn3': f'{STACK}ffconv.bottleneck.7',
    r'nonlocal_blocks\.(\d+)\.out_conv': f'{STACK}W.0',
    r'nonlocal_blocks\.(\d+)\.out_norm': f'{STACK}W.bn',
    r'nonlocal_blocks\.(\d+)\.(g|theta|phi)': rf'{STACK}\2',
    r'fc_branch\.0': 'feature_extractor.fc6',
    r'fc_branch\.1': 'feature_extractor.fc7',
    r'fc_cls': 'predictor.cls_score_fc',
    r'fc_reg': 'predictor.bbox_pred',
    r'unfocused_cls\.fc_cls': 'predictor.cls_score',
    r'unfocused_reg\.fc_reg': 'predictor.bbox_pred_fc',
}
DETECTOR_NAMES = {
    r'backbone\.(conv1|bn1)': r'backbone.body.stem.\1',
    r'backbone\.(layer.+)': r'backbone.body.\1',
    r'rpn_head\.rpn_conv': 'rpn.head.conv',
    r'rpn_head\.rpn_cls': 'rpn.head.cls_logits',
    r'rpn_head\.rpn_reg': 'rpn.head.bbox_pred',
    **{
        rf'neck\.{ours}\.{level}\.conv': f'backbone.fpn.{theirs}{level + 1}'
        for level in range(4)
        for ours, theirs in (('lateral_convs', 'fpn_inner'), ('fpn_convs', 'fpn_layer'))
    },
}


def match_detector(state: Mapping[str, Tensor]) -> tuple[nn.Module, Callable[[str], str]]:
    """Build our counterpart of a model by the authors, with its numbers of classes and blocks.

    It is mmdet's ``FasterRCNN`` with this package's ``DoubleConvFCBBoxHead`` that has both
    predictors on each head (Double-Head-Ext).

    Raises:
        ValueError: If there are several heads, no predictor, or another backbone than ResNet-50 or
            ResNet-101.
    """
    places = {match[1] for match in map(HEAD_KEY.fullmatch, state) if match}
    if len(places) != 1:
        raise ValueError(
            f'the file has {len(places)} heads with a feature_extractor and a predictor, below '
            f'{sorted(places)}; those of Double-Head have one.'
        )
    (place,) = places
    prefix = place.removesuffix(HEAD_PLACE)
    num_blocks = _count(state, rf'{re.escape(prefix)}backbone\.body\.layer3\.\d+\.conv1\.weight')
    if num_blocks not in BLOCKS_TO_DEPTH:
        raise ValueError(
            f'{prefix}backbone.body.layer3 has {num_blocks} blocks; that of ResNet-50 has 6, and '
            'that of ResNet-101 23.'
        )
    anchors = dict(
        type='AnchorGenerator', scales=[8], ratios=[0.5, 1, 2], strides=[4, 8, 16, 32, 64]
    )
    head = {key.removeprefix(place): value for key, value in state.items()}
    detector = nn.ModuleDict(
        dict(
            backbone=ResNet(BLOCKS_TO_DEPTH[num_blocks]),
            neck=FPN([256, 512, 1024, 2048], 256, num_outs=5),
            rpn_head=RPNHead(in_channels=256, anchor_generator=anchors),
            roi_head=nn.ModuleDict(dict(bbox_head=_build_head(head))),
        )
    )

    def name(key: str) -> str:
        if key.startswith(OWN_HEAD):
            return place + _foreign_name(key.removeprefix(OWN_HEAD), HEAD_NAMES)
        return prefix + _foreign_name(key, DETECTOR_NAMES)

    return detector, name


def _build_head(head: Mapping[str, Tensor]) -> nn.Module:
    """Build our head with the numbers of classes and blocks of theirs."""
    box_rows = _num_outputs(head, 'predictor.bbox_pred.weight') - BOX_PARAMETERS
    stack = r'feature_extractor\.shared_nonlocal\.\d+\.'
    return DoubleConvFCBBoxHead(
        num_convs=_count(head, rf'{stack}ffconv\.bottleneck\.0\.weight'),
        num_nonlocal=_count(head, rf'{stack}g\.weight'),
        num_fcs=2,
        lambda_fc=0.7,
        lambda_conv=0.8,
        in_channels=256,
        roi_feat_size=7,
        num_classes=_num_outputs(head, 'predictor.cls_score_fc.weight') - 1,
        reg_class_agnostic=box_rows == BOX_PARAMETERS,
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, key)) for key in state)


def _num_outputs(state: Mapping[str, Tensor], key: str) -> int:
    shape = getattr(state.get(key), 'shape', ())
    if not shape:
        raise ValueError(f'the file has no tensor {key}.')
    return shape[0]


def _foreign_name(key: str, names: Mapping[str, str]) -> str:
    layer, tensor = key.rsplit('.', 1)
    for pattern, name in names.items():
        match = re.fullmatch(pattern, layer)
        if match:
            return f'{match.expand(name)}.{tensor}'
    raise KeyError(key)


def _rearrange(key: str, tensor: Tensor) -> Tensor:
    layer = key.rpartition('.')[0].removeprefix(OWN_HEAD)
    if layer in CLASS_LAYERS:  # background, the first row there, moves to the end
        return tensor.roll(-1, dims=0)
    if layer in BOX_LAYERS:
        # Without a copy, the slice would be saved with the rows of the background.
        return tensor[BOX_PARAMETERS:].clone()
    return tensor


DOUBLEHEADSRCNN = WeightSource(
    title="a model of the Double-Head authors' code, wuyuebupt/doubleheadsrcnn",
    usage='config double-head-ext-nonlocal_r50-caffe_fpn_authors-1x_coco, or its r101 counterpart, '
    'with the number of classes, num_convs and num_nonlocal (4 groups) of the file',
    recognizes=lambda state: any('feature_extractor.nonlocal_conv.' in key for key in state),
    match=match_detector,
    unused=r'.*rpn\.anchor_generator\.cell_anchors\.\d',
    container='model',
    rearrange=_rearrange,
)

"""The Double-Head authors' detectors, from wuyuebupt/doubleheadsrcnn.

That code is a fork of maskrcnn-benchmark. Its RoI head has the feature extractor
``FPN2MLPFeatureExtractorNeighbor`` and the predictor ``FPNPredictorNeighbor``.

Background is the first class there and the last one here. There, it also has unused rows in the box
layers.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from mmdet_detnet.models import DoubleConvFCBBoxHead

from . import maskrcnn_benchmark
from .conversion import Counterpart, Layout, WeightSource, first_dimension, shapes_of

OWN_PREFIX = 'roi_head.bbox_head.'
HEAD_PLACE = 'roi_heads.box.'
# In the file, the head's names start with its place in the detector.
HEAD_KEY = re.compile(r'(.*?)((?:feature_extractor|predictor)\..+)')
BOTTLENECK_KEY = re.compile(
    r'feature_extractor\.shared_nonlocal\.\d+\.ffconv\.bottleneck\.0\.weight'
)
NONLOCAL_KEY = re.compile(r'feature_extractor\.shared_nonlocal\.\d+\.g\.weight')
BLOCK_KEY = re.compile(r'(?P<stack>conv_branch|nonlocal_blocks)\.(?P<number>\d+)\.(?P<layer>\w+)')
# Our names and theirs; {} is the number of a block.
NAMES = {
    'res_block.conv1.conv': 'feature_extractor.nonlocal_conv.bottom.0',
    'res_block.conv1.bn': 'feature_extractor.nonlocal_conv.bottom.1',
    'res_block.conv2.conv': 'feature_extractor.nonlocal_conv.bottom.3',
    'res_block.conv2.bn': 'feature_extractor.nonlocal_conv.bottom.4',
    'res_block.conv_identity.conv': 'feature_extractor.nonlocal_conv.top.0',
    'res_block.conv_identity.bn': 'feature_extractor.nonlocal_conv.top.1',
    'conv_branch.{}.conv1': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.0',
    'conv_branch.{}.bn1': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.1',
    'conv_branch.{}.conv2': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.3',
    'conv_branch.{}.bn2': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.4',
    'conv_branch.{}.conv3': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.6',
    'conv_branch.{}.bn3': 'feature_extractor.shared_nonlocal.{}.ffconv.bottleneck.7',
    'nonlocal_blocks.{}.g': 'feature_extractor.shared_nonlocal.{}.g',
    'nonlocal_blocks.{}.theta': 'feature_extractor.shared_nonlocal.{}.theta',
    'nonlocal_blocks.{}.phi': 'feature_extractor.shared_nonlocal.{}.phi',
    'nonlocal_blocks.{}.out_conv': 'feature_extractor.shared_nonlocal.{}.W.0',
    'nonlocal_blocks.{}.out_norm': 'feature_extractor.shared_nonlocal.{}.W.bn',
    'fc_branch.0': 'feature_extractor.fc6',
    'fc_branch.1': 'feature_extractor.fc7',
    'fc_cls': 'predictor.cls_score_fc',
    'fc_reg': 'predictor.bbox_pred',
    'unfocused_cls.fc_cls': 'predictor.cls_score',
    'unfocused_reg.fc_reg': 'predictor.bbox_pred_fc',
}
CLASS_LAYERS = ('fc_cls', 'unfocused_cls.fc_cls')
BOX_LAYERS = ('fc_reg', 'unfocused_reg.fc_reg')
BOX_PARAMETERS = 4


def background_last(rows: Tensor) -> Tensor:
    """Move background, the first row of a class layer, to the end."""
    return rows.roll(-1, dims=0)


def without_background(rows: Tensor) -> Tensor:
    """Drop the background rows of a box layer."""
    # Without a copy, the slice would be saved with all rows.
    return rows[BOX_PARAMETERS:].clone()


def make_layout(state: Mapping[str, Tensor]) -> Layout:
    """List the tensors of a model by the authors.

    Args:
        state: The state dict, which determines the numbers of classes and blocks.

    Returns:
        The conversion of each, for mmdet's ``FasterRCNN`` with this package's
        ``DoubleConvFCBBoxHead`` that has both predictors on each head (Double-Head-Ext).

    Raises:
        ValueError: If there are several heads, no predictor, or another backbone than ResNet-50 or
            ResNet-101.
    """
    prefix = _find_place(state)
    own_shapes = _head_shapes({key.removeprefix(prefix): value for key, value in state.items()})
    layout = dict(maskrcnn_benchmark.make_layout(state, prefix.removesuffix(HEAD_PLACE)))
    for key, shape in own_shapes.items():
        layout[prefix + _foreign_name(key)] = _counterpart(key, shape)
    return layout


def _find_place(state: Mapping[str, Tensor]) -> str:
    """Find the prefix of the head's names."""
    places = {match[1] for match in map(HEAD_KEY.fullmatch, state) if match}
    if len(places) != 1:
        raise ValueError(
            f'the file has {len(places)} heads with a feature_extractor and a predictor, below '
            f'{sorted(places)}; those of Double-Head have one.'
        )
    return places.pop()


def _head_shapes(head: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """List the shapes of our head with the file's numbers of classes and blocks."""
    num_classes = first_dimension(head, 'predictor.cls_score_fc.weight') - 1
    box_rows = first_dimension(head, 'predictor.bbox_pred.weight') - BOX_PARAMETERS
    return shapes_of(
        lambda: DoubleConvFCBBoxHead(
            num_convs=len([key for key in head if BOTTLENECK_KEY.fullmatch(key)]),
            num_nonlocal=len([key for key in head if NONLOCAL_KEY.fullmatch(key)]),
            num_fcs=2,
            lambda_fc=0.7,
            lambda_conv=0.8,
            in_channels=256,
            roi_feat_size=7,
            num_classes=num_classes,
            reg_class_agnostic=box_rows == BOX_PARAMETERS,
        )
    )


def _foreign_name(key: str) -> str:
    """Look up a name in the table, ignoring the number of the block."""
    layer, tensor = key.rsplit('.', 1)
    block = BLOCK_KEY.fullmatch(layer)
    if block:
        return f'{NAMES[block["stack"] + ".{}." + block["layer"]].format(block["number"])}.{tensor}'
    return f'{NAMES[layer]}.{tensor}'


def _counterpart(key: str, shape: tuple[int, ...]) -> Counterpart:
    layer = key.rsplit('.', 1)[0]
    if layer in CLASS_LAYERS:
        return Counterpart(OWN_PREFIX + key, shape, background_last)
    if layer in BOX_LAYERS:
        foreign_shape = (shape[0] + BOX_PARAMETERS, *shape[1:])
        return Counterpart(OWN_PREFIX + key, foreign_shape, without_background)
    return Counterpart(OWN_PREFIX + key, shape)


DOUBLEHEADSRCNN = WeightSource(
    title="a model of the Double-Head authors' code, wuyuebupt/doubleheadsrcnn",
    usage='config double-head-ext-nonlocal_r50-caffe_fpn_authors-1x_coco, or its r101 counterpart, '
    'with the number of classes, num_convs and num_nonlocal (4 groups) of the file',
    recognizes=lambda state: any('feature_extractor.nonlocal_conv.' in key for key in state),
    make_layout=make_layout,
    container='model',
)

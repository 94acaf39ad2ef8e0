"""Backbone, FPN and RPN with the names of maskrcnn-benchmark.

The tensors are those of mmdet's modules. Only batch counters are missing, because the norms are
fixed, and the anchors, which mmdet computes, are stored as well.
"""

import re
from collections.abc import Mapping

from mmdet.models import FPN, ResNet, RPNHead
from torch import Tensor, nn

from .conversion import Counterpart, Layout, shapes_of

BLOCKS_TO_DEPTH = {6: 50, 23: 101}
BLOCK_KEY = re.compile(r'backbone\.body\.layer3\.\d+\.conv1\.weight')
# Patterns of mmdet's names, and theirs.
NAMES = (
    (re.compile(r'backbone\.(conv1|bn1)\.'), r'backbone.body.stem.\1.'),
    (re.compile(r'backbone\.layer'), 'backbone.body.layer'),
    (re.compile(r'rpn_head\.rpn_conv\.'), 'rpn.head.conv.'),
    (re.compile(r'rpn_head\.rpn_cls\.'), 'rpn.head.cls_logits.'),
    (re.compile(r'rpn_head\.rpn_reg\.'), 'rpn.head.bbox_pred.'),
    *(
        (re.compile(rf'neck\.{ours}\.{level}\.conv\.'), f'backbone.fpn.{theirs}{level + 1}.')
        for level in range(4)
        for ours, theirs in (('lateral_convs', 'fpn_inner'), ('fpn_convs', 'fpn_layer'))
    ),
)
NUM_LEVELS = 5


def make_layout(state: Mapping[str, Tensor], prefix: str) -> Layout:
    """List the tensors of a two-stage detector on a ResNet with FPN, but for its RoI heads.

    Args:
        state: The state dict, which determines the depth of the ResNet.
        prefix: What precedes all names, such as ``module.``.

    Returns:
        The conversion of each, for mmdet's ``FasterRCNN``.

    Raises:
        ValueError: If the depth is neither 50 nor 101.
    """
    num_blocks = sum(bool(BLOCK_KEY.fullmatch(key.removeprefix(prefix))) for key in state)
    if num_blocks not in BLOCKS_TO_DEPTH:
        raise ValueError(
            f'{prefix}backbone.body.layer3 has {num_blocks} blocks; that of ResNet-50 has 6, and '
            'that of ResNet-101 23.'
        )
    shapes = shapes_of(lambda: _build(BLOCKS_TO_DEPTH[num_blocks]))
    layout = {
        prefix + _foreign_name(key): Counterpart(key, shape)
        for key, shape in shapes.items()
        if not key.endswith('num_batches_tracked')
    }
    for level in range(NUM_LEVELS):
        anchors = f'{prefix}rpn.anchor_generator.cell_anchors.{level}'
        layout[anchors] = Counterpart(None, (3, 4), optional=True)
    return layout


def _build(depth: int) -> nn.Module:
    rpn_head = RPNHead(
        in_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
        ),
    )
    neck = FPN([256, 512, 1024, 2048], 256, num_outs=NUM_LEVELS)
    return nn.ModuleDict(dict(backbone=ResNet(depth), neck=neck, rpn_head=rpn_head))


def _foreign_name(key: str) -> str:
    for pattern, name in NAMES:
        key = pattern.sub(name, key)
    return key

"""Checkpoints of MMDetection's own Double-Head R-CNN.

Our ``DoubleConvFCBBoxHead`` keeps every name of MMDetection's, so nothing is renamed: what the
conversion does is to check that all of the detector is there, and to leave the optimiser and the
notes of the training behind.
"""

import re
from collections.abc import Mapping
from functools import partial

from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from torch import Tensor

from .conversion import Counterpart, Layout, WeightSource, first_dimension, shapes_of
from .resnets import find_depth

CONFIG = 'mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py'
HEAD = 'roi_head.bbox_head'
CONV_BLOCK = re.compile(re.escape(HEAD) + r'\.conv_branch\.(\d+)\.')
BOX_PARAMETERS = 4


def make_layout(state: Mapping[str, Tensor]) -> Layout:
    """List the tensors of a Double-Head R-CNN with an FPN.

    Args:
        state: The state dict, which decides on the depth of the ResNet, the number of classes,
            and the number of convolutional blocks.

    Returns:
        What becomes of each tensor, for the same detector with our RoI head.

    Raises:
        ValueError: If the predictors are missing, or the backbone is no ResNet.
    """
    model = get_config(CONFIG).model
    _set_sizes(model, state)
    parts = {
        'backbone': model.backbone,
        'neck': model.neck,
        'rpn_head': model.rpn_head,
        HEAD: model.roi_head.bbox_head,
    }
    return {
        f'{name}.{key}': Counterpart(f'{name}.{key}', shape)
        for name, part in parts.items()
        for key, shape in shapes_of(partial(MODELS.build, part)).items()
    }


def _set_sizes(model: ConfigDict, state: Mapping[str, Tensor]) -> None:
    head = model.roi_head.bbox_head
    head.num_classes = first_dimension(state, f'{HEAD}.fc_cls.weight') - 1
    head.reg_class_agnostic = first_dimension(state, f'{HEAD}.fc_reg.weight') == BOX_PARAMETERS
    blocks = [int(match[1]) for match in map(CONV_BLOCK.match, state) if match]
    head.num_convs = max(blocks, default=0) + 1
    model.backbone.depth = find_depth(state, prefix='backbone.')


MMDET_DOUBLE_HEAD = WeightSource(
    title="a Double-Head R-CNN of MMDetection's",
    usage='load_from of a Double-Head config with the same backbone, number of classes and '
    'num_convs, and num_nonlocal=0',
    recognises=lambda state: f'{HEAD}.res_block.conv1.conv.weight' in state,
    make_layout=make_layout,
    container='state_dict',
)

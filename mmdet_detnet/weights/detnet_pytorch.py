"""Weights of guoruoqian/DetNet_pytorch: ``detnet59.pth`` and its detectors.

``detnet59.pth`` is a bare state dict, written by torch before 0.4. Its layers match ours except for
two names: the projection shortcuts of the new stages are called ``extra_conv``, and a classifier
``fc`` follows the backbone. The detectors split the backbone into ``RCNN_layer0`` to
``RCNN_layer5``. Only their backbone is converted, because their FPN smooths other levels than
MMDetection's and resizes differently.
"""

from collections.abc import Mapping

from torch import Tensor

from mmdet_detnet.models import DetNet
from mmdet_detnet.models.resnet import DETNET_PYTORCH_SHORTCUT

from .conversion import Counterpart, Layout, WeightSource, shapes_of

DETECTOR_LAYER = 'RCNN_layer'
OWN_SHORTCUT = '.downsample.'
PROJECTED_BLOCKS = ('layer4.0', 'layer5.0')
USAGE = (
    "backbone dict(type='mmdet_detnet.DetNet', depth=59, style='pytorch'), RGB images "
    "normalized by ImageNet's mean and deviation"
)


def classifier_layout(state: Mapping[str, Tensor]) -> Layout:
    """Map ``detnet59.pth``, of which there is only one."""
    backbone = {
        classifier_name(key): Counterpart(key, shape)
        for key, shape in shapes_of(lambda: DetNet(depth=59)).items()
    }
    fc = {'fc.weight': Counterpart(None, (1000, 1024)), 'fc.bias': Counterpart(None, (1000,))}
    return {**backbone, **fc}


def detector_layout(state: Mapping[str, Tensor]) -> Layout:
    """Map the backbone of a detector; its other tensors are not used."""
    others = {key: Counterpart(None, None) for key in state if not key.startswith(DETECTOR_LAYER)}
    backbone = {
        detector_name(classifier_name(key)): Counterpart(key, shape)
        for key, shape in shapes_of(lambda: DetNet(depth=59)).items()
    }
    return {**others, **backbone}


def classifier_name(key: str) -> str:
    """Convert our name of a tensor to that in ``detnet59.pth``."""
    is_projected = key.startswith(PROJECTED_BLOCKS)
    return key.replace(OWN_SHORTCUT, DETNET_PYTORCH_SHORTCUT) if is_projected else key


def detector_name(key: str) -> str:
    """Convert a name of ``detnet59.pth`` to the detectors' name, with Sequentials around layers."""
    layer, rest = key.split('.', 1)
    if layer.startswith('layer'):
        return f'RCNN_{layer}.0.{rest}'
    return f'{DETECTOR_LAYER}0.{("conv1", "bn1").index(layer)}.{rest}'


DETNET_PYTORCH = WeightSource(
    title='the detnet59.pth of guoruoqian/DetNet_pytorch (a state dict of the ImageNet classifier)',
    usage=USAGE,
    recognizes=lambda state: any(DETNET_PYTORCH_SHORTCUT in key for key in state),
    make_layout=classifier_layout,
)
DETNET_PYTORCH_DETECTOR = WeightSource(
    title='a detector of guoruoqian/DetNet_pytorch',
    usage=f'{USAGE}; neck and heads must be trained',
    recognizes=lambda state: any(key.startswith(DETECTOR_LAYER) for key in state),
    make_layout=detector_layout,
    container='model',
)

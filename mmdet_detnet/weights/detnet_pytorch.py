"""Weights of guoruoqian/DetNet_pytorch: ``detnet59.pth`` and its detectors.

``detnet59.pth`` is a bare state dict, written by torch before 0.4. Its layers match ours except for
two names: the projection shortcuts of the new stages are called ``extra_conv``, and a classifier
``fc`` follows the backbone. The detectors split the backbone into ``RCNN_layer0`` to
``RCNN_layer5``. Only their backbone is converted, because their FPN smooths other levels than
MMDetection's and resizes differently.
"""

from mmdet_detnet.models import DetNet
from mmdet_detnet.models.resnet import DETNET_PYTORCH_SHORTCUT

from .conversion import WeightSource

PROJECTED_BLOCKS = ('layer4.0', 'layer5.0')
USAGE = (
    "backbone dict(type='mmdet_detnet.DetNet', depth=59, style='pytorch'), RGB images "
    "normalized by ImageNet's mean and deviation"
)


def classifier_name(key: str) -> str:
    """Convert our name of a tensor to that in ``detnet59.pth``."""
    is_projected = key.startswith(PROJECTED_BLOCKS)
    return key.replace('.downsample.', DETNET_PYTORCH_SHORTCUT) if is_projected else key


def detector_name(key: str) -> str:
    """Convert our name of a tensor to the detectors', which have Sequentials around layers."""
    layer, rest = classifier_name(key).split('.', 1)
    if layer.startswith('layer'):
        return f'RCNN_{layer}.0.{rest}'
    return f'RCNN_layer0.{("conv1", "bn1").index(layer)}.{rest}'


DETNET_PYTORCH = WeightSource(
    title='the detnet59.pth of guoruoqian/DetNet_pytorch (a state dict of the ImageNet classifier)',
    usage=USAGE,
    recognizes=lambda state: any(DETNET_PYTORCH_SHORTCUT in key for key in state),
    match=lambda state: (DetNet(depth=59), classifier_name),
    unused=r'fc\.(weight|bias)',
)
DETNET_PYTORCH_DETECTOR = WeightSource(
    title='a detector of guoruoqian/DetNet_pytorch',
    usage=f'{USAGE}; neck and heads must be trained',
    recognizes=lambda state: any(key.startswith('RCNN_layer') for key in state),
    match=lambda state: (DetNet(depth=59), detector_name),
    unused=r'(?!RCNN_layer).*',
    container='model',
)

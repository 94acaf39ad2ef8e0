"""The ImageNet weights of guoruoqian/DetNet_pytorch, ``detnet59.pth``.

That file is a bare state dict, written by a torch older than 0.4, of a network whose layers are
ours but for two names: the projection shortcuts of the new stages are called ``extra_conv``, and a
classifier ``fc`` follows the backbone.
"""

from collections.abc import Mapping

from torch import Tensor

from mmdet_detnet.models import DetNet
from mmdet_detnet.models.backbones.pretrained import DETNET_PYTORCH_SHORTCUT

from .conversion import Counterpart, Layout, WeightSource, shapes_of

OWN_SHORTCUT = '.downsample.'
PROJECTED_BLOCKS = ('layer4.0', 'layer5.0')
CLASSIFIER = {
    'fc.weight': Counterpart(None, (1000, 1024)),
    'fc.bias': Counterpart(None, (1000,)),
}


def is_detnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has that repository's names of the projection shortcuts.

    Args:
        state: A state dict.

    Returns:
        True if it has.
    """
    return any(DETNET_PYTORCH_SHORTCUT in key for key in state)


def make_layout(state: Mapping[str, Tensor]) -> Layout:
    """List the tensors of ``detnet59.pth``.

    Args:
        state: Its content, which decides nothing: there is one such file.

    Returns:
        What becomes of each, for :class:`mmdet_detnet.models.DetNet` of depth 59.
    """
    shapes = shapes_of(lambda: DetNet(depth=59))
    return {
        **{_foreign_name(key): Counterpart(key, shape) for key, shape in shapes.items()},
        **CLASSIFIER,
    }


def _foreign_name(key: str) -> str:
    if key.startswith(PROJECTED_BLOCKS):
        return key.replace(OWN_SHORTCUT, DETNET_PYTORCH_SHORTCUT)
    return key


DETNET_PYTORCH = WeightSource(
    title='the detnet59.pth of guoruoqian/DetNet_pytorch (a state dict of the ImageNet classifier)',
    usage="backbone dict(type='mmdet_detnet.DetNet', depth=59, style='pytorch'), RGB images "
    "normalised by ImageNet's mean and deviation",
    recognises=is_detnet_pytorch,
    make_layout=make_layout,
)

"""Detection modules; importing this package registers all of them."""

from .backbones import DetNet, IPGDetNet, IPGNet, IPGResNeXt
from .dense_heads import ConfidenceRetinaHead
from .roi_heads import CascadeDoubleHeadRoIHead, DoubleConvFCBBoxHead, DoubleHeadRoIHead

__all__ = [
    'CascadeDoubleHeadRoIHead',
    'ConfidenceRetinaHead',
    'DetNet',
    'DoubleConvFCBBoxHead',
    'DoubleHeadRoIHead',
    'IPGDetNet',
    'IPGNet',
    'IPGResNeXt',
]

"""Detection modules; importing this package registers all of them."""

from .backbones import DetNet, IPGDetNet, IPGNet, IPGResNeXt
from .dense_heads import ConfidenceATSSHead, ConfidenceRetinaHead
from .roi_heads import CascadeDoubleHeadRoIHead, DoubleConvFCBBoxHead, DoubleHeadRoIHead

__all__ = [
    'CascadeDoubleHeadRoIHead',
    'ConfidenceATSSHead',
    'ConfidenceRetinaHead',
    'DetNet',
    'DoubleConvFCBBoxHead',
    'DoubleHeadRoIHead',
    'IPGDetNet',
    'IPGNet',
    'IPGResNeXt',
]

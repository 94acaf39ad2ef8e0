"""Detection modules; importing this package registers all of them."""

from .backbones import DetNet, IPGDetNet, IPGNet, IPGResNeXt
from .dense_heads import ConfidenceATSSHead, ConfidenceRetinaHead
from .roi_heads import (
    CascadeDoubleHeadRoIHead,
    DetectronRoIExtractor,
    DoubleConvFCBBoxHead,
    DoubleHeadRoIHead,
)
from .task_modules import DetectronAnchorGenerator

__all__ = [
    'CascadeDoubleHeadRoIHead',
    'ConfidenceATSSHead',
    'ConfidenceRetinaHead',
    'DetNet',
    'DetectronAnchorGenerator',
    'DetectronRoIExtractor',
    'DoubleConvFCBBoxHead',
    'DoubleHeadRoIHead',
    'IPGDetNet',
    'IPGNet',
    'IPGResNeXt',
]

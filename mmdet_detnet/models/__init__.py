"""Detection modules; importing this package registers all of them."""

from .detectron import DetectronAnchorGenerator, DetectronRoIExtractor
from .detnet import DetNet
from .double_head import (
    CascadeDoubleHeadRoIHead,
    DoubleConvFCBBoxHead,
    DoubleHeadRoIHead,
    PreciseRoIExtractor,
)
from .ipgnet import IPGDetNet, IPGNet, IPGResNeXt
from .retinanet_conf import ConfidenceATSSHead, ConfidenceRetinaHead

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
    'PreciseRoIExtractor',
]

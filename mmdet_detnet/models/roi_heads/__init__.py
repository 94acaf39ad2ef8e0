"""RoI heads."""

from .bbox_heads import DoubleConvFCBBoxHead
from .cascade_double_head_roi_head import CascadeDoubleHeadRoIHead
from .detectron_roi_extractor import DetectronRoIExtractor
from .double_head_roi_head import DoubleHeadRoIHead

__all__ = [
    'CascadeDoubleHeadRoIHead',
    'DetectronRoIExtractor',
    'DoubleConvFCBBoxHead',
    'DoubleHeadRoIHead',
]

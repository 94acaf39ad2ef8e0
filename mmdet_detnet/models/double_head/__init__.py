"""Double-Head R-CNN, Double-Head-Ext and their RoI pooling.

Paper: Rethinking Classification and Localization for Object Detection,
https://arxiv.org/abs/1904.06493. The authors' code is a fork of maskrcnn-benchmark,
https://github.com/wuyuebupt/doubleheadsrcnn (commit a744b41).
"""

from .bbox_head import DoubleConvFCBBoxHead
from .roi_head import CascadeDoubleHeadRoIHead, DoubleHeadRoIHead
from .roi_pooling import PreciseRoIExtractor

__all__ = [
    'CascadeDoubleHeadRoIHead',
    'DoubleConvFCBBoxHead',
    'DoubleHeadRoIHead',
    'PreciseRoIExtractor',
]

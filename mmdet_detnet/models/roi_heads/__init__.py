"""RoI heads."""

from .bbox_heads import DoubleConvFCBBoxHead
from .cascade_double_head_roi_head import CascadeDoubleHeadRoIHead
from .double_head_roi_head import DoubleHeadRoIHead

__all__ = ['CascadeDoubleHeadRoIHead', 'DoubleConvFCBBoxHead', 'DoubleHeadRoIHead']

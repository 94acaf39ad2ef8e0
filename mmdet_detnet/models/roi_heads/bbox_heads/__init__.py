"""Box heads."""

from .double_conv_fc_bbox_head import DoubleConvFCBBoxHead

__all__ = ['DoubleConvFCBBoxHead']

"""Detection modules; importing this package registers all of them."""

from .backbones import DetNet, IPGDetNet, IPGNet, IPGResNeXt
from .dense_heads import ConfidenceRetinaHead

__all__ = ['ConfidenceRetinaHead', 'DetNet', 'IPGDetNet', 'IPGNet', 'IPGResNeXt']

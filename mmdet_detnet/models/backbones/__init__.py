"""Backbones."""

from .detnet import DetNet
from .ipgnet import IPGDetNet, IPGNet, IPGResNeXt

__all__ = ['DetNet', 'IPGDetNet', 'IPGNet', 'IPGResNeXt']

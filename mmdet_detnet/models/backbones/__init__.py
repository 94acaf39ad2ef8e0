"""Backbones."""

from .detnet import DetNet

__all__ = ['DetNet']

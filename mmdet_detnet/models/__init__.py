"""Detection modules; importing this package registers all of them."""

from .backbones import DetNet

__all__ = ['DetNet']

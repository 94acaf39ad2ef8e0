"""A loaded detector made faster: memory layout, compilation and low precision."""

from .accelerate import accelerate

__all__ = ['accelerate']

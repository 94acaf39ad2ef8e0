"""Make a loaded detector faster: memory layout, compilation and low precision."""

from .accelerate import accelerate, unwrap_model

__all__ = ['accelerate', 'unwrap_model']

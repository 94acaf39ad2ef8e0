"""Checkpoints that hold plain values only, and loading them without running what is in them."""

from .content import make_plain, restore
from .loading import force_weights_only, read_checkpoint, weights_only_forced

__all__ = [
    'force_weights_only',
    'make_plain',
    'read_checkpoint',
    'restore',
    'weights_only_forced',
]

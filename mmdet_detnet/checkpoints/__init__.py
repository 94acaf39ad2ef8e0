"""Write checkpoints that hold only plain values, and load checkpoints without running code."""

from .content import make_plain, restore
from .loading import force_weights_only, read_checkpoint

__all__ = [
    'force_weights_only',
    'make_plain',
    'read_checkpoint',
    'restore',
]

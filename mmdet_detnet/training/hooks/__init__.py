"""Hooks."""

from .acceleration_hook import AccelerationHook
from .config_check_hook import ConfigCheckHook
from .durable_checkpoint_hook import DurableCheckpointHook
from .finite_check_hook import FiniteCheckHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .progress_hook import ProgressHook
from .seed_hook import SeedHook
from .seeded_init_hook import SeededInitHook

__all__ = [
    'AccelerationHook',
    'ConfigCheckHook',
    'DurableCheckpointHook',
    'FiniteCheckHook',
    'PlainCheckpointHook',
    'ProgressHook',
    'SeedHook',
    'SeededInitHook',
]

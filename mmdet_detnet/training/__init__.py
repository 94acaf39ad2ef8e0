"""Training: hooks, checks, and the launcher.

Configs name the hooks with the prefix ``mmdet_detnet.``; mmengine calls their methods.
"""

from .acceleration_hook import AccelerationHook
from .checkpoint_hooks import DurableCheckpointHook, PlainCheckpointHook
from .config_check_hook import ConfigCheckHook
from .finite_check_hook import FiniteCheckHook
from .progress import ProgressHook, QuietRunner
from .seed_hook import SeedHook

__all__ = [
    'AccelerationHook',
    'ConfigCheckHook',
    'DurableCheckpointHook',
    'FiniteCheckHook',
    'PlainCheckpointHook',
    'ProgressHook',
    'QuietRunner',
    'SeedHook',
]

"""Hooks and helpers for mmengine's runner."""

from .hooks import (
    AccelerationHook,
    ConfigCheckHook,
    DurableCheckpointHook,
    FiniteCheckHook,
    PlainCheckpointHook,
    ProgressHook,
    SeededInitHook,
    SeedHook,
)

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

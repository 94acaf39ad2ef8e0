"""Hooks and helpers for mmengine's runner."""

from .hooks import (
    AccelerationHook,
    ConfigCheckHook,
    DurableCheckpointHook,
    FiniteCheckHook,
    PlainCheckpointHook,
    SeededInitHook,
    SeedHook,
)

__all__ = [
    'AccelerationHook',
    'ConfigCheckHook',
    'DurableCheckpointHook',
    'FiniteCheckHook',
    'PlainCheckpointHook',
    'SeedHook',
    'SeededInitHook',
]

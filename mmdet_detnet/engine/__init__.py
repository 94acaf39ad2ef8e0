"""Hooks and helpers for mmengine's runner."""

from .hooks import (
    AccelerationHook,
    ConfigCheckHook,
    DurableCheckpointHook,
    FiniteCheckHook,
    PlainCheckpointHook,
    SeedHook,
)

__all__ = [
    'AccelerationHook',
    'ConfigCheckHook',
    'DurableCheckpointHook',
    'FiniteCheckHook',
    'PlainCheckpointHook',
    'SeedHook',
]

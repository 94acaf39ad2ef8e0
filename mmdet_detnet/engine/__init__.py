"""What a runner needs beside models."""

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

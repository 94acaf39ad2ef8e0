"""What a runner needs beside models."""

from .hooks import (
    AccelerationHook,
    DurableCheckpointHook,
    FiniteCheckHook,
    PlainCheckpointHook,
    SeedHook,
)

__all__ = [
    'AccelerationHook',
    'DurableCheckpointHook',
    'FiniteCheckHook',
    'PlainCheckpointHook',
    'SeedHook',
]

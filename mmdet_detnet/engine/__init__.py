"""What a runner needs beside models."""

from .hooks import AccelerationHook, PlainCheckpointHook

__all__ = ['AccelerationHook', 'PlainCheckpointHook']

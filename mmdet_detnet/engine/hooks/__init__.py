"""Hooks."""

from .acceleration_hook import AccelerationHook
from .plain_checkpoint_hook import PlainCheckpointHook

__all__ = ['AccelerationHook', 'PlainCheckpointHook']

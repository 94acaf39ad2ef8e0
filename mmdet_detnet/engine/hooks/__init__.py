"""Hooks."""

from .acceleration_hook import AccelerationHook

__all__ = ['AccelerationHook']

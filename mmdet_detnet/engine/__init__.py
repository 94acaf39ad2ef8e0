"""What a runner needs beside models."""

from .hooks import AccelerationHook

__all__ = ['AccelerationHook']

"""Deployment: faster detectors, and detectors as ONNX files."""

from .acceleration import accelerate, keep_freed_memory
from .onnx_detector import OnnxDetector
from .onnx_export import export_onnx

__all__ = ['OnnxDetector', 'accelerate', 'export_onnx', 'keep_freed_memory']

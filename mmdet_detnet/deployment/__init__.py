"""Deployment: faster detectors, and detectors as ONNX files."""

from .acceleration import accelerate
from .onnx_detector import OnnxDetector
from .onnx_export import export_onnx

__all__ = ['OnnxDetector', 'accelerate', 'export_onnx']

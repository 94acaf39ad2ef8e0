"""Export detectors to ONNX, from image to boxes."""

from .exporting import export_onnx
from .onnx_detector import OnnxDetector

__all__ = ['OnnxDetector', 'export_onnx']

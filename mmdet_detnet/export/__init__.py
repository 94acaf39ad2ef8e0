"""Export detectors to ONNX, from image to boxes."""

import torch

if not hasattr(torch.library, 'custom_op'):
    raise ImportError(f'mmdet_detnet.export needs torch 2.4 or newer, got {torch.__version__}.')

from .exporting import export_onnx
from .onnx_detector import OnnxDetector

__all__ = ['OnnxDetector', 'export_onnx']

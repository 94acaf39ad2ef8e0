"""Dense heads."""

from .confidence_retina_head import ConfidenceRetinaHead

__all__ = ['ConfidenceRetinaHead']

"""Dense heads."""

from .confidence_atss_head import ConfidenceATSSHead
from .confidence_branch import ConfidenceBranch
from .confidence_retina_head import ConfidenceRetinaHead

__all__ = ['ConfidenceATSSHead', 'ConfidenceBranch', 'ConfidenceRetinaHead']

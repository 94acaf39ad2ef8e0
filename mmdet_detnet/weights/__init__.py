"""Loading and converting weights that were not trained with this package."""

from .conversion import Conversion, WeightSource
from .pretrained import load_pretrained_backbone, split_pretrained
from .report import WeightReport
from .sources import SOURCES, convert_weights

__all__ = [
    'SOURCES',
    'Conversion',
    'WeightReport',
    'WeightSource',
    'convert_weights',
    'load_pretrained_backbone',
    'split_pretrained',
]

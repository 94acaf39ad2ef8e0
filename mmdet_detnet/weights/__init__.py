"""Loading and converting weights that were not trained with this package."""

from .detnet_pytorch import convert_detnet_pytorch
from .pretrained import load_pretrained_backbone, split_pretrained
from .report import WeightReport

__all__ = [
    'WeightReport',
    'convert_detnet_pytorch',
    'load_pretrained_backbone',
    'split_pretrained',
]

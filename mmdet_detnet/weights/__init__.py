"""Converters of third-party weights; the models do not import them."""

from mmdet_detnet.models.resnet import WeightReport, load_pretrained_backbone

from .conversion import Conversion, WeightSource
from .files import convert_file
from .sources import SOURCES, convert_weights

__all__ = [
    'SOURCES',
    'Conversion',
    'WeightReport',
    'WeightSource',
    'convert_file',
    'convert_weights',
    'load_pretrained_backbone',
]

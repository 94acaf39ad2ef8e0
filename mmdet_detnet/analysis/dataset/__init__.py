"""Check a data set before training, convert one to COCO format, or draw one."""

from .check import check_dataset
from .findings import Finding
from .output import write_report
from .picture import draw_distributions
from .report import Report
from .shapes import generate_shapes
from .voc_to_coco import convert_voc

__all__ = [
    'Finding',
    'Report',
    'check_dataset',
    'convert_voc',
    'draw_distributions',
    'generate_shapes',
    'write_report',
]

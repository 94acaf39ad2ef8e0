"""Check a data set before training, or draw one."""

from .check import check_dataset
from .findings import Finding
from .output import write_report
from .picture import draw_distributions
from .report import Report
from .shapes import generate_shapes

__all__ = [
    'Finding',
    'Report',
    'check_dataset',
    'draw_distributions',
    'generate_shapes',
    'write_report',
]

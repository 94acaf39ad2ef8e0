"""Compare the cost of detectors, measured in turn in one run."""

from .comparison import compare, make_rows, measure
from .plots import plot_scaling
from .report import Report, format_rows, read_report, write_report
from .rows import Ratio, Row
from .workload import Entry, Rounds, Settings, Workload

__all__ = [
    'Entry',
    'Ratio',
    'Report',
    'Rounds',
    'Row',
    'Settings',
    'Workload',
    'compare',
    'format_rows',
    'make_rows',
    'measure',
    'plot_scaling',
    'read_report',
    'write_report',
]

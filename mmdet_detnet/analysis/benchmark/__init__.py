"""What detectors cost beside each other, measured in turn and in one run."""

from .comparison import compare
from .plots import plot_scaling
from .report import format_rows, read_report, write_report
from .rows import Ratio, Row
from .workload import Entry, Rounds, Settings, Workload

__all__ = [
    'Entry',
    'Ratio',
    'Rounds',
    'Row',
    'Settings',
    'Workload',
    'compare',
    'format_rows',
    'plot_scaling',
    'read_report',
    'write_report',
]

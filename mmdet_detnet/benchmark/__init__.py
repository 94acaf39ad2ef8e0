"""Compare the cost of detectors, measured in turn in one run."""

from .comparisons import Entry, Settings, Workload
from .measurement import Rounds, compare, make_rows, measure
from .results import Ratio, Row, format_rows, write_results

__all__ = [
    'Entry',
    'Ratio',
    'Rounds',
    'Row',
    'Settings',
    'Workload',
    'compare',
    'format_rows',
    'make_rows',
    'measure',
    'write_results',
]

"""What tests of several folders share."""

from mmdet_detnet.analysis.benchmark.rows import Row
from mmdet_detnet.analysis.benchmark.workload import PLAIN, Entry


def make_row(config, seconds=(), settings=PLAIN, kind='detector', **values):
    """Make a row of a comparison by hand."""
    entry = Entry(config, kind, settings)
    return Row(entry.title, entry, predict_seconds=list(seconds), **values)

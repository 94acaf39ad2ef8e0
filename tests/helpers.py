"""What tests of several folders share."""

from mmdet_detnet.analysis.benchmark import Entry, Row, Settings


def count_parameters(module):
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def make_row(config, seconds=(), settings=Settings(), kind='detector', **values):  # noqa: B008
    """Make a row of a comparison by hand."""
    return Row(Entry(config, kind, settings), predict_seconds=list(seconds), **values)

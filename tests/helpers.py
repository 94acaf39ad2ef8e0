"""What tests of several folders share."""

import mmengine.config.config

from mmdet_detnet.analysis.benchmark import Entry, Row, Settings


def leave_configs_unformatted():
    """Write configs' texts without line breaks: yapf takes 0.2 s, five times for each Runner."""
    mmengine.config.config.FormatCode = lambda text, **style: (text, True)


def count_parameters(module):
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def make_row(config, seconds=(), settings=Settings(), kind='detector', **values):  # noqa: B008
    """Make a row of a comparison by hand."""
    return Row(Entry(config, kind, settings), predict_seconds=list(seconds), **values)

"""Plot the distribution of boxes over sizes and classes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from .box_counts import SIZE_BINS
from .dataset_check import DatasetCheck

DPI = 120
WIDTH_INCHES = 12
HEIGHT_INCHES = 4.5
INCHES_PER_CLASS = 0.22
BINS_PER_OCTAVE = 5


def draw_distributions(report: DatasetCheck, out: Path) -> None:
    """Plot a histogram of sizes beside the number of boxes per class.

    Args:
        report: Result of the checks.
        out: Image to write.
    """
    height = max(HEIGHT_INCHES, 1 + INCHES_PER_CLASS * len(report.rows))
    figure = Figure((WIDTH_INCHES, height), DPI, layout='constrained')
    figure.suptitle(
        f'{report.annotation_file}: {report.num_retained} boxes in {report.num_used_images} images',
        parse_math=False,
    )
    size_axes, class_axes = figure.subplots(1, 2)
    _draw_sizes(size_axes, report)
    _draw_classes(class_axes, report)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def _draw_sizes(axes: Axes, report: DatasetCheck) -> None:
    axes.set_xscale('log', base=2)
    if len(report.sizes):
        first, last = np.floor(np.log2([report.sizes.min(), report.sizes.max()]) * BINS_PER_OCTAVE)
        axes.hist(report.sizes, 2 ** (np.arange(first, last + 2) / BINS_PER_OCTAVE))
    if report.anchors is not None:
        label = f'anchors, {report.anchors.smallest:g} to {report.anchors.largest:g}'
        axes.axvspan(
            report.anchors.smallest, report.anchors.largest, color='C2', alpha=0.15, label=label
        )
        axes.legend()
    axes.set(xlabel=f'sqrt(area) {report.scale}, in pixels', ylabel='boxes', title='Sizes')
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _draw_classes(axes: Axes, report: DatasetCheck) -> None:
    names = [row['class'] for row in report.rows]
    start = np.zeros(len(names))
    for size in SIZE_BINS:
        counts = np.array([row[size] for row in report.rows])
        axes.barh(range(len(names)), counts, left=start, label=size)
        start += counts
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel='boxes', title="Classes, by COCO's sizes in the original image")
    axes.legend()

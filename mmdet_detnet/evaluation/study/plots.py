"""Plot a study: AP of each run, and differences from the control."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .comparison import Comparison
from .result_files import Result
from .statistics import estimate_mean

DPI = 110


def plot_comparisons(made: Sequence[Result], comparisons: Sequence[Comparison], path: Path) -> None:
    """Plot a point per seed, and means with 95 % intervals.

    Args:
        made: The results.
        comparisons: Comparisons of the results; may be empty.
        path: Image to write.
    """
    groups: dict[str, list[float]] = {}
    for result in made:
        title = f'{result["detector"]}, {result["data_set"]}'
        groups.setdefault(title, []).append(result['metrics']['AP'] or 0)
    differences = {
        f'{each.module} - {each.control}, {each.data_set}': each.differences('AP')
        for each in comparisons
    }
    height = 1.2 + 0.45 * max(len(groups), len(differences))
    figure = Figure(figsize=(12, height), dpi=DPI, layout='constrained')
    left, right = figure.subplots(1, 2)
    _plot_rows(left, groups)
    left.set_xlabel('AP on the test images')
    _plot_rows(right, differences)
    right.axvline(0, color='black', linewidth=1)
    right.set_xlabel('difference of AP, paired by seed;\nmean and 95 % interval')
    figure.savefig(path)


def _plot_rows(axes: Axes, rows: dict[str, list[float]]) -> None:
    for place, values in enumerate(rows.values()):
        axes.plot(values, [place] * len(values), 'o', color='C0', alpha=0.6)
        mean = estimate_mean(values)
        margin = None if len(values) < 2 else mean.high - mean.mean
        axes.errorbar(mean.mean, place + 0.2, xerr=margin, fmt='|', color='C1', capsize=3)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis='x', alpha=0.3)

"""Plot rows: ratios to the reference, and cost over batch and image size."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .rows import QUANTITIES, Row
from .workload import Workload

DPI = 110
BAR_HEIGHT = 0.2
ACTIONS = {'train': ('training step', '-'), 'predict': ('inference', '--')}


def plot_rows(rows: Sequence[Row], path: Path, title: str) -> None:
    """Plot the ratios to the reference, the last row, as bars; do nothing if there are none."""
    rows, reference = [row for row in rows[:-1] if row.ratios], rows[-1]
    if not rows:
        return
    figure = Figure(figsize=(7, 1.5 + len(rows)), dpi=DPI, layout='constrained')
    axes = figure.subplots()
    for number, key in enumerate(QUANTITIES):
        _plot_bars(axes, rows, key, number)
    axes.axvline(1, color='black', linewidth=1)
    axes.set_yticks(range(len(rows)), [row.entry.title for row in rows], fontsize=7)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel(f'ratio to {reference.entry.title}, {reference.workload}', fontsize=8)
    axes.set_title(title, fontsize=8)
    axes.legend(fontsize=7)
    figure.savefig(path)


def _plot_bars(axes: Axes, rows: Sequence[Row], key: str, number: int) -> None:
    """Plot the ratios of one quantity, the one with this number, where rows have them."""
    shown = [(index, row.ratios[key]) for index, row in enumerate(rows) if key in row.ratios]
    if not shown:
        return
    places = [index + (number - 1.5) * BAR_HEIGHT for index, _ in shown]
    medians = [ratio.median for _, ratio in shown]
    spread = [
        [ratio.median - ratio.low for _, ratio in shown],
        [ratio.high - ratio.median for _, ratio in shown],
    ]
    options = dict(label=QUANTITIES[key][0], color=f'C{number}')
    bars = axes.barh(places, medians, BAR_HEIGHT, xerr=spread, **options)
    axes.bar_label(bars, fmt='%.2f', padding=4, fontsize=7)


def plot_scaling(rows: Sequence[Row], path: Path) -> Path:
    """Plot time and memory over batch size and over image size.

    Args:
        rows: Rows of several workloads. The curves show the image size with most batches and the
            batch with most image sizes.
        path: Image to write.

    Returns:
        The path.
    """
    workloads = list(dict.fromkeys(row.workload for row in rows))
    by_batch, by_size = choose_curves(workloads)
    figure = Figure(figsize=(10, 7), dpi=DPI, layout='constrained')
    panels = figure.subplots(2, 2)
    columns: list[tuple[str, list[Workload], Callable[[Workload], float]]] = [
        ('images in a batch', by_batch, lambda workload: workload.batch),
        (
            'megapixels of an image',
            by_size,
            lambda workload: workload.height * workload.width / 1e6,
        ),
    ]
    for column, (label, chosen, position) in enumerate(columns):
        curve = sorted(
            (row for row in rows if row.workload in chosen), key=lambda row: position(row.workload)
        )
        for axes, unit in zip(panels[:, column], ('seconds', 'mib'), strict=True):
            _plot_curves(axes, curve, position, unit)
            axes.set_xlabel(label)
    panels[0, 0].legend(fontsize=7)
    figure.savefig(path)
    return path


def choose_curves(workloads: Sequence[Workload]) -> tuple[list[Workload], list[Workload]]:
    """Select the workloads of the size with most batches, and of the batch with most sizes."""

    def most(key: Callable[[Workload], object]) -> list[Workload]:
        keys = [key(workload) for workload in workloads]
        common = max(keys, key=keys.count)
        return [workload for workload in workloads if key(workload) == common]

    return most(lambda each: (each.height, each.width)), most(lambda each: each.batch)


def _plot_curves(
    axes: Axes, rows: list[Row], position: Callable[[Workload], float], unit: str
) -> None:
    for title in dict.fromkeys(row.entry.title for row in rows):
        for action, (name, style) in ACTIONS.items():
            quantity = f'{action}_{unit}'
            points = [
                (position(row.workload), row.median(quantity))
                for row in rows
                if row.entry.title == title and getattr(row, quantity)
            ]
            label = f'{title}, {name}'
            axes.plot(*zip(*points, strict=True) if points else ((), ()), f'o{style}', label=label)
    axes.set_ylabel('seconds' if unit == 'seconds' else 'peak memory, MiB')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)

"""Pictures of a report: what things cost, and what precision that has bought others."""

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .published import published_ap

DPI = 110
MEASURES = {
    'predict_seconds': 'inference time',
    'train_seconds': 'training step',
    'predict_mib': 'inference memory',
    'train_mib': 'training memory',
}
BAR_HEIGHT = 0.2
MAX_COLUMNS = 3


def plot_report(report: dict, path: Path) -> Path | None:
    """Draw bars of the ratios, and precision against inference time where precision is known.

    Args:
        report: As written by the benchmark.
        path: Image to write.

    Returns:
        The path, or none if there is nothing to draw.
    """
    bars = {
        name: [row for row in rows[:-1] if row['ratios']]
        for name, rows in report['results'].items()
    }
    bars = {name: rows for name, rows in bars.items() if rows}
    if not bars:
        return None
    points = _precision_points(report['results'])
    number = len(bars) + bool(points)
    columns = min(number, MAX_COLUMNS)
    lines = -(-number // columns)
    figure = Figure(figsize=(5 * columns, 3.8 * lines), dpi=DPI, layout='constrained')
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels[number:]:
        axes.remove()
    for axes, (name, rows) in zip(panels, bars.items(), strict=False):
        _plot_bars(axes, rows, f'{name}, over {report["results"][name][-1]["title"]}')
    if points:
        _plot_precision(panels[number - 1], points)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower left', ncols=4)
    workload = report['workload']
    size = f'{workload["batch"]} x {workload["height"]} x {workload["width"]}'
    figure.suptitle(f'{report["device"]}; torch {report["torch"]}; {size}', fontsize=9)
    figure.savefig(path)
    return path


def _plot_bars(axes: Axes, rows: list[dict], title: str) -> None:
    for offset, (key, label) in enumerate(MEASURES.items()):
        shown = [
            (index, row['ratios'][key]) for index, row in enumerate(rows) if key in row['ratios']
        ]
        if not shown:
            continue
        places = [index + (offset - 1.5) * BAR_HEIGHT for index, _ in shown]
        medians = [ratio['median'] for _, ratio in shown]
        spread = [
            [ratio['median'] - ratio['low'] for _, ratio in shown],
            [ratio['high'] - ratio['median'] for _, ratio in shown],
        ]
        color = f'C{offset}'
        container = axes.barh(places, medians, BAR_HEIGHT, xerr=spread, label=label, color=color)
        axes.bar_label(container, fmt='%.2f', padding=4, fontsize=7)
    axes.axvline(1, color='black', linewidth=1)
    axes.set_yticks(range(len(rows)), [row['title'].replace('_', '\n', 1) for row in rows])
    axes.tick_params(axis='y', labelsize=7)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=8)


def _precision_points(results: dict) -> dict[tuple[str, str], tuple[float, float]]:
    """Find (inference time, AP) of detectors that have both, by title and publisher."""
    points = {}
    for rows in results.values():
        for row in rows:
            found = published_ap(row['entry']['config'])
            if row['entry']['kind'] == 'detector' and found and row['predict_seconds']:
                points[row['title'], found[1]] = statistics.median(row['predict_seconds']), found[0]
    return points


def _plot_precision(axes: Axes, points: dict[tuple[str, str], tuple[float, float]]) -> None:
    for (title, source), (seconds, precision) in points.items():
        axes.plot(seconds, precision, 'o', label=f'{title}: {precision} ({source})')
    axes.margins(x=0.1, y=0.1)
    axes.legend(fontsize=6, loc='upper center', bbox_to_anchor=(0.5, -0.2))
    axes.set_xlabel('inference, seconds a batch, measured here')
    axes.set_ylabel("COCO box AP, others' publication, not ours")
    axes.set_title('precision as published, cost as measured', fontsize=8)
    axes.grid(alpha=0.3)

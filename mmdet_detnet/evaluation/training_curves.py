"""Plot the loss and the validation AP of a training run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

LOG_NAME = 'vis_data/scalars.json'
DPI = 120
METRICS = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')

Record = dict[str, Any]


def plot_training(
    work_dir: str | Path, run: str | None = None, out: str | Path | None = None
) -> Path:
    """Plot loss over iterations beside average precision over epochs.

    Args:
        work_dir: Work directory of a training run.
        run: Name of one run in it, such as ``'20251120_101500'``. By default the newest run, with
            the runs that it resumed.
        out: Image to write; None for ``training.png`` in ``work_dir``.

    Returns:
        The path of the image.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log is damaged or has no training losses.
    """
    work_dir = Path(work_dir)
    records = read_training_log(work_dir, run)
    figure = Figure(figsize=(12, 4.5), dpi=DPI, layout='constrained')
    loss_axes, precision_axes = figure.subplots(1, 2)
    figure.suptitle(work_dir.resolve().name)
    _plot_loss(loss_axes, records)
    _plot_precision(precision_axes, records)
    out = Path(out or work_dir / 'training.png')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def read_training_log(work_dir: Path, run: str | None = None) -> list[Record]:
    """Read the log of one run, or of the newest run and those that it resumed.

    Each run has its own folder, named by its start time. Training records have keys such as
    ``'loss'``, ``'iter'`` and, in epoch-based loops, ``'epoch'``; validation records have metrics,
    and the epoch (or iteration) as ``'step'``.

    Args:
        work_dir: Work directory of a training run.
        run: Name of one run; by default, runs are joined as described.

    Returns:
        The records in order.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log is damaged or has no training losses.
    """
    files = sorted(work_dir.glob(f'{run or "*"}/{LOG_NAME}'))
    if not files:
        raise FileNotFoundError(
            f'No training log: nothing matches {work_dir}/{run or "*"}/{LOG_NAME}.'
        )
    runs = [_read_records(file) for file in files]
    merged = _join_runs([records for records in runs if any('loss' in r for r in records)])
    if not merged:
        raise ValueError(f'No training losses in {", ".join(map(str, files))}.')
    return merged


def _read_records(file: Path) -> list[Record]:
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f'{file} is damaged: {error}.') from error


def _join_runs(runs: Sequence[list[Record]]) -> list[Record]:
    """Keep the records of each run before the start of the next; a fresh start keeps none."""
    joined: list[Record] = []
    for records in runs:
        start = next(_position(record) for record in records if 'loss' in record)
        joined = [record for record in joined if _position(record) < start] + records
    return joined


def _position(record: Record) -> int:
    """Return the epoch or, in iteration-based loops, the iteration."""
    return record['epoch'] if 'epoch' in record else record['step']


def _plot_loss(axes: Axes, records: list[Record]) -> None:
    training = [record for record in records if 'loss' in record]
    names = {name for record in training for name in record if 'loss' in name}
    for name in sorted(names, key=lambda name: (name != 'loss', name)):
        points = [(record['step'], record[name]) for record in training if name in record]
        axes.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == 'loss' else 1)
    axes.set(xlabel='iteration', ylabel='loss', title='Training loss', ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()


def _plot_precision(axes: Axes, records: list[Record]) -> None:
    for metric in METRICS:
        points = metric_values(records, metric)
        if points:
            axes.plot(*zip(*points, strict=True), marker='o', label=f'{metric} {points[-1][1]:.3f}')
    by_epoch = any('epoch' in record for record in records)
    axes.set(
        xlabel='epoch' if by_epoch else 'iteration',
        ylabel='average precision',
        title='Validation (last value in the legend)',
        ylim=(0, 1),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc='lower right')
    else:
        axes.text(0.5, 0.5, 'no validation in the log', ha='center', transform=axes.transAxes)


def metric_values(records: Sequence[Record], metric: str) -> list[tuple[int, float]]:
    """Select one metric from the records.

    Args:
        records: Records as returned by :func:`read_training_log`.
        metric: Name without the evaluator's prefix, such as ``'bbox_mAP'``.

    Returns:
        The epoch (or iteration) and value of each validation.
    """
    return [
        (record['step'], value)
        for record in records
        for name, value in record.items()
        if name.split('/')[-1] == metric
    ]

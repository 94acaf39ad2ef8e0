"""What was measured: rows with ratios, as text, as JSON and as a plot."""

import itertools
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import mmcv
import mmdet
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.device import get_device
from tabulate import tabulate

from mmdet_detnet.files import write_file
from mmdet_detnet.version import __version__

from .comparisons import Entry, Workload

# All measured quantities: name in tables and format of a value.
QUANTITIES = {
    'predict_seconds': ('inference', '{:.3f} s'),
    'train_seconds': ('training step', '{:.3f} s'),
    'predict_mib': ('inference memory', '{:.0f} MiB'),
    'train_mib': ('training memory', '{:.0f} MiB'),
}
MISSING = '-'
# The plot.
DPI = 110
BAR_HEIGHT = 0.2


@dataclass(frozen=True)
class Ratio:
    """Ratios of the rounds of two rows: their median, quartiles and number."""

    median: float
    low: float
    high: float
    rounds: int = 1

    def __str__(self) -> str:
        if self.rounds == 1:
            return f'{self.median:.3f}'
        return f'{self.median:.3f} ({self.low:.3f} to {self.high:.3f})'


def divide(values: Sequence[float], reference: Sequence[float]) -> Ratio | None:
    """Divide two rows round by round; None if one of them has no values."""
    if not values or not reference:
        return None
    ratios = [ours / others for ours, others in zip(values, reference, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return Ratio(median, low, high, len(ratios))


@dataclass
class Row:
    """Cost of one entry, and ratios to the reference; empty if not measured.

    Attributes:
        entry: What was measured, with ``workload`` as its input.
        parameters: Number of parameters.
        gmacs: Multiply-adds of a forward pass of one image by part, in units of 1e9.
        predict_seconds: Time of each round of inference; ``train_seconds`` of a training step.
        parts: Times of inference by part, from separate rounds.
        predict_mib: Peak memory of inference, in MiB, one value; ``train_mib`` of a training step.
        passing: How many proposals exceed the score threshold, and of how many.
        failure: Reason for missing values.
        ratios: Ratio to the reference for each of :data:`QUANTITIES` that both have.
    """

    entry: Entry
    workload: Workload = Workload()
    parameters: int | None = None
    gmacs: dict[str, float] = field(default_factory=dict)
    predict_seconds: list[float] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    predict_mib: list[float] = field(default_factory=list)
    train_mib: list[float] = field(default_factory=list)
    passing: tuple[int, int] | None = None
    failure: str | None = None
    ratios: dict[str, Ratio] = field(default_factory=dict)

    def add_round(self, action: str, seconds: float, parts: dict[str, float]) -> None:
        """Add a round of 'predict', 'parts' or 'train'; after a failure, no round counts."""
        for part, of_part in parts.items():
            self.parts.setdefault(part, []).append(of_part)
        if action != 'parts':
            getattr(self, f'{action}_seconds').append(seconds)
        if self.failure:
            (self.parts if action == 'parts' else getattr(self, f'{action}_seconds')).clear()

    def compare_with(self, reference: 'Row') -> None:
        """Set the ratios to a reference."""
        pairs = {key: divide(getattr(self, key), getattr(reference, key)) for key in QUANTITIES}
        self.ratios = {key: value for key, value in pairs.items() if value is not None}


def format_rows(rows: Sequence[Row]) -> str:
    """Format the rows of one comparison as Markdown tables: costs, split of inference, failures."""
    tables = [[_costs(row) for row in rows], [_split(row) for row in rows if row.parts]]
    failures = [f'FAILED {row.entry.title}: {row.failure}' for row in rows if row.failure]
    texts = [
        tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)
        for lines in tables
        if lines
    ]
    return '\n\n'.join([*texts, *failures])


def _costs(row: Row) -> dict[str, str]:
    line = {
        'subject': row.entry.title,
        'parameters': f'{row.parameters:,}' if row.parameters else MISSING,
        'GMACs': f'{sum(row.gmacs.values()):.1f}' if row.gmacs else MISSING,
    }
    for key, (title, template) in QUANTITIES.items():
        values = getattr(row, key)
        line[title] = template.format(statistics.median(values)) if values else MISSING
        if not values and row.failure and key.endswith('seconds'):
            line[title] = 'failed'
        if key in row.ratios:
            line[title] += f': {row.ratios[key]}'
    return line


def _split(row: Row) -> dict[str, str]:
    line = {'inference of': row.entry.title}
    for part, seconds in row.parts.items():
        line[part] = f'{statistics.median(seconds):.3f} s' if any(seconds) else MISSING
    totals = map(sum, zip(*row.parts.values(), strict=True))
    line['sum'] = f'{statistics.median(totals):.3f} s'
    if row.passing:
        line['above score_thr'] = '{} of {}'.format(*row.passing)
    return line


class ResultFile:
    """The JSON file of a run, which can be rewritten after each round, and its plot.

    Args:
        rows: Of one comparison, the reference last.
        out_dir: Folder for both.
        name: Name of the comparison; part of the file name, with device, torch and settings.
        device: Device of the measurement; by default a GPU if there is one.

    Attributes:
        path: The JSON file; never an existing one.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        out_dir: str | Path = 'work_dirs/benchmark',
        name: str = 'comparison',
        device: str | torch.device | None = None,
    ) -> None:
        self.rows, self.name = rows, name
        self.device = torch.device(device or get_device())
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else ''
        settings = rows[0].entry.settings.name
        place = gpu.lower().replace(' ', '-') or self.device.type
        stem = f'benchmark_{name}_{place}_torch{torch.__version__}_{settings}'
        numbered = (f'_{number}' for number in itertools.count(2))
        paths = (Path(out_dir, f'{stem}{end}.json') for end in itertools.chain([''], numbered))
        self.path = next(path for path in paths if not path.exists())
        self.machine = (
            f'{gpu or platform.machine()}, {os.cpu_count()} CPU cores, '
            f'{torch.get_num_threads()} threads'
        )
        self.load_average = round(os.getloadavg()[0], 2)

    def write(self) -> None:
        """Write all results so far, atomically."""
        content = {
            'name': self.name,
            'date': date.today().isoformat(),
            'command': ' '.join(['python', *sys.argv]),
            'device': self.machine,
            'load_average_before': self.load_average,
            'python': platform.python_version(),
            'torch': torch.__version__,
            'mmcv': mmcv.__version__,
            'mmdet': mmdet.__version__,
            'mmdet_detnet': __version__,
            'rows': [asdict(row) for row in self.rows],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, json.dumps(content, indent=1).encode())

    def draw(self) -> None:
        """Plot the ratios to the reference as bars, if there are any, next to the JSON file."""
        rows = [row for row in self.rows if row.ratios and row.entry != self.rows[-1].entry]
        if not rows:
            return
        figure = Figure(figsize=(7, 1.5 + len(rows)), dpi=DPI, layout='constrained')
        axes = figure.subplots()
        for number, (key, (title, _)) in enumerate(QUANTITIES.items()):
            shown = [(i, row.ratios[key]) for i, row in enumerate(rows) if key in row.ratios]
            if shown:
                indices, ratios = zip(*shown, strict=True)
                places = np.array(indices) + (number - 1.5) * BAR_HEIGHT
                spread = np.array([(r.median - r.low, r.high - r.median) for r in ratios]).T
                medians = [each.median for each in ratios]
                style = dict(label=title, color=f'C{number}')
                bars = axes.barh(places, medians, BAR_HEIGHT, xerr=spread, **style)
                axes.bar_label(bars, fmt='%.2f', padding=4, fontsize=7)
        axes.axvline(1, color='black', linewidth=1)
        titles = [f'{row.entry.title}, {row.workload}' for row in rows]
        axes.set_yticks(range(len(rows)), titles, fontsize=7)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.set_xlabel(f'ratio to {self.rows[-1].entry.title}', fontsize=8)
        axes.set_title(f'{self.name}: {self.machine}', fontsize=8)
        axes.legend(fontsize=7)
        figure.savefig(self.path.with_suffix('.png'))


def write_results(
    rows: Sequence[Row],
    out_dir: str | Path = 'work_dirs/benchmark',
    name: str = 'comparison',
    device: str | torch.device | None = None,
) -> Path:
    """Write all results as JSON, with a plot; arguments as in :class:`ResultFile`.

    Returns:
        The JSON file.
    """
    file = ResultFile(rows, out_dir, name, device)
    file.write()
    file.draw()
    return file.path

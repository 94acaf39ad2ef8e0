"""What was measured: rows with ratios, as Markdown and as JSON."""

import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.device import get_device
from tabulate import tabulate

from mmdet_detnet.environment import describe_environment
from mmdet_detnet.files import write_file

from .comparisons import Entry, Workload

# All measured quantities: name in tables and format of a value.
QUANTITIES = {
    'predict_seconds': ('inference', '{:.3f} s'),
    'train_seconds': ('training step', '{:.3f} s'),
    'predict_mib': ('inference memory', '{:.0f} MiB'),
    'train_mib': ('training memory', '{:.0f} MiB'),
}
MISSING = '-'


class Ratio(NamedTuple):
    """Ratios of the rounds of two rows: their median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f'{self.median:.3f}'
        return f'{self.median:.3f} ({self.low:.3f} to {self.high:.3f})'


@dataclass
class Row:
    """Cost of one entry; empty if not measured."""

    entry: Entry
    workload: Workload = Workload()
    parameters: int | None = None
    # Multiply-adds of a forward pass of one image by part, in units of 1e9.
    gmacs: dict[str, float] = field(default_factory=dict)
    # Of each round.
    predict_seconds: list[float] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    # Of inference by part, from separate rounds.
    parts: dict[str, list[float]] = field(default_factory=dict)
    # Peak memory, one value.
    predict_mib: list[float] = field(default_factory=list)
    train_mib: list[float] = field(default_factory=list)
    failure: str | None = None

    def divide_by(self, reference: 'Row', quantity: str) -> Ratio | None:
        """Divide one of :data:`QUANTITIES` by the reference's, round by round, if both have it."""
        pairs = zip(getattr(self, quantity), getattr(reference, quantity), strict=False)
        ratios = [ours / others for ours, others in pairs]
        if len(ratios) < 2:
            return Ratio(*ratios * 3) if ratios else None
        low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
        return Ratio(median, low, high)


def format_rows(rows: Sequence[Row]) -> str:
    """Format the rows of one comparison as Markdown tables: costs, split of inference, failures."""
    tables = [[_costs(row, rows[-1]) for row in rows], [_split(row) for row in rows if row.parts]]
    failures = [f'FAILED {row.entry.title}: {row.failure}' for row in rows if row.failure]
    texts = [
        tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)
        for lines in tables
        if lines
    ]
    return '\n\n'.join([*texts, *failures])


def _costs(row: Row, reference: Row) -> dict[str, str]:
    line = {
        'subject': row.entry.title,
        'parameters': f'{row.parameters:,}' if row.parameters else MISSING,
        'GMACs': f'{sum(row.gmacs.values()):.1f}' if row.gmacs else MISSING,
    }
    for quantity, (title, template) in QUANTITIES.items():
        values = getattr(row, quantity)
        line[title] = template.format(statistics.median(values)) if values else MISSING
        if not values and row.failure and quantity.endswith('seconds'):
            line[title] = 'failed'
        if ratio := row.divide_by(reference, quantity):
            line[title] += f': {ratio}'
    return line


def _split(row: Row) -> dict[str, str]:
    line = {'inference of': row.entry.title}
    for part, seconds in row.parts.items():
        line[part] = f'{statistics.median(seconds):.3f} s' if any(seconds) else MISSING
    totals = map(sum, zip(*row.parts.values(), strict=True))
    line['sum'] = f'{statistics.median(totals):.3f} s'
    return line


def write_results(
    rows: Sequence[Row],
    out_dir: str | Path = 'work_dirs/benchmark',
    name: str = 'comparison',
    device: str | torch.device | None = None,
) -> Path:
    """Write the rows of one comparison as JSON; return the file, named by ``name`` and the time."""
    is_gpu = torch.device(device or get_device()).type == 'cuda'
    now = datetime.now()
    content = {
        'name': name,
        'date': now.isoformat(timespec='seconds'),
        'command': shlex.join(['python', *sys.argv]),
        'device': torch.cuda.get_device_name(device) if is_gpu else platform.machine(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'environment': describe_environment(),
        'rows': [asdict(row) for row in rows],
    }
    path = Path(out_dir, f'{name}_{now:%Y%m%d_%H%M%S_%f}.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(content, indent=1).encode())
    return path

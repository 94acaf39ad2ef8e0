"""Write a comparison as text, JSON and a plot."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import mmcv
import mmdet
import torch
from mmengine.device import get_device
from tabulate import tabulate

from mmdet_detnet.files import write_file
from mmdet_detnet.version import __version__

from .plots import plot_rows, plot_scaling
from .rows import AGREEMENT, FEWEST_ROUNDS, QUANTITIES, TIMED, Row

MISSING = '-'


def format_rows(rows: Sequence[Row]) -> str:
    """Format rows as text.

    Args:
        rows: Of one comparison, the reference last.

    Returns:
        Markdown tables of the costs and the split of inference, the expected agreement with another
        run, and the failures.
    """
    tables = [[_costs(row) for row in rows], [_split(row) for row in rows if row.parts]]
    failures = [f'FAILED {row.entry.title}: {row.failure}' for row in rows if row.failure]
    agreement = _agreement(rows)
    return '\n\n'.join([*map(_table, filter(None, tables)), *agreement, *failures])


class Report:
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
        self.path = _free_path(Path(out_dir), stem)
        self.machine = (
            f'{gpu or platform.machine()}, {os.cpu_count()} CPU cores, '
            f'{torch.get_num_threads()} threads'
        )

    def write(self) -> None:
        """Write all results so far, atomically."""
        report = {
            'name': self.name,
            'date': date.today().isoformat(),
            'command': ' '.join(['python', *sys.argv]),
            'device': self.machine,
            'device_type': self.device.type,
            'python': platform.python_version(),
            'torch': torch.__version__,
            'mmcv': mmcv.__version__,
            'mmdet': mmdet.__version__,
            'mmdet_detnet': __version__,
            'rows': [asdict(row) for row in self.rows],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, json.dumps(report, indent=1).encode())

    def draw(self) -> None:
        """Plot the ratios, or curves for several workloads, to the same name with ``.png``."""
        picture = self.path.with_suffix('.png')
        if len({row.workload for row in self.rows}) > 1:
            plot_scaling(self.rows, picture)
        else:
            plot_rows(self.rows, picture, f'{self.name}: {self.machine}')


def write_report(
    rows: Sequence[Row],
    out_dir: str | Path = 'work_dirs/benchmark',
    name: str = 'comparison',
    device: str | torch.device | None = None,
) -> Path:
    """Write all results as JSON, with a plot; arguments as in :class:`Report`.

    Returns:
        The JSON file.
    """
    report = Report(rows, out_dir, name, device)
    report.write()
    report.draw()
    return report.path


def read_report(path: str | Path) -> dict:
    """Read a file of :func:`write_report`, with rows as :class:`Row`.

    Raises:
        ValueError: If the file is not a report.
    """
    try:
        report = json.loads(Path(path).read_text())
        report['rows'] = [Row.from_dict(row) for row in report['rows']]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not a report of this benchmark: {error!r}.') from error
    return report


def _free_path(folder: Path, stem: str) -> Path:
    path, number = folder / f'{stem}.json', 1
    while path.exists():
        number += 1
        path = folder / f'{stem}_{number}.json'
    return path


def _table(lines: list[dict[str, str]]) -> str:
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


def _agreement(rows: Sequence[Row]) -> list[str]:
    """List ratios that another run may not confirm."""
    ratios = {
        f'{QUANTITIES[key][0]} of {row.entry.title}': row.ratios[key].repeatability
        for row in rows[:-1]
        for key in TIMED
        if key in row.ratios
    }
    if not ratios:
        return []
    if None in ratios.values():
        return [f'Fewer than {FEWEST_ROUNDS} rounds do not tell how far another run may differ.']
    apart = {what: share for what, share in ratios.items() if share and share > AGREEMENT}
    if not apart:
        return [f'Ratios of another run should agree within {AGREEMENT:.0%}.']
    listed = '; '.join(f'{what} by {share:.1%}' for what, share in apart.items())
    return [f'Ratios of another run may differ by more than {AGREEMENT:.0%}: {listed}.']


def _costs(row: Row) -> dict[str, str]:
    line = {
        'subject': row.entry.title,
        'parameters': f'{row.parameters:,}' if row.parameters else MISSING,
        'GMACs': f'{sum(row.gmacs.values()):.1f}' if row.gmacs else MISSING,
    }
    for key, (title, template) in QUANTITIES.items():
        median = row.median(key)
        line[title] = template.format(median) if median is not None else MISSING
        if median is None and row.failure and key.endswith('seconds'):
            line[title] = 'failed'
        if key in row.ratios:
            single = len(getattr(row, key)) == 1
            ratio = row.ratios[key]
            line[title] += f': {ratio.median:.3f}' if single else f': {ratio}'
    return line


def _split(row: Row) -> dict[str, str]:
    line = {'inference of': row.entry.title}
    for part, seconds in row.parts.items():
        median = sorted(seconds)[len(seconds) // 2]
        line[part] = f'{median:.3f} s' if any(seconds) else MISSING
    totals = sorted(map(sum, zip(*row.parts.values(), strict=True)))
    line['sum'] = f'{totals[len(totals) // 2]:.3f} s'
    if row.proposals:
        line['survivors'] = f'{row.survivors} of {row.proposals}'
    return line

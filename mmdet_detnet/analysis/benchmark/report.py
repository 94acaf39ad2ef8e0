"""A comparison as text, as a JSON file and as a picture."""

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
from tabulate import tabulate

from mmdet_detnet.version import __version__

from .plots import plot_rows
from .rows import QUANTITIES, Row

MISSING = '-'


def format_rows(rows: Sequence[Row]) -> str:
    """Lay rows out as text.

    Args:
        rows: Of one comparison, the reference last.

    Returns:
        Tables in Markdown, of the costs and of the split of inference; then the failures.
    """
    tables = [[_costs(row) for row in rows], [_split(row) for row in rows if row.parts]]
    failures = [f'FAILED {row.entry.title}: {row.failure}' for row in rows if row.failure]
    return '\n\n'.join([*map(_table, filter(None, tables)), *failures])


def write_report(
    rows: Sequence[Row],
    out_dir: str | Path = 'work_dirs/benchmark',
    name: str = 'comparison',
    device: str | torch.device | None = None,
) -> Path:
    """Write everything that was measured as JSON, with a picture; never over an earlier run.

    Args:
        rows: Of one comparison, the reference last.
        out_dir: Folder for both.
        name: Of the comparison; with the device, torch and settings it makes the file's name.
        device: Where the rows were measured; a GPU if there is one, by default.

    Returns:
        The JSON file. The picture, if there is a ratio to draw, has the same name and ``.png``.
    """
    used = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    gpu = torch.cuda.get_device_name(used) if used.type == 'cuda' else ''
    settings = rows[0].entry.settings.name
    place = gpu.lower().replace(' ', '-') or used.type
    stem = f'benchmark_{name}_{place}_torch{torch.__version__}_{settings}'
    report = {
        'name': name,
        'date': date.today().isoformat(),
        'command': ' '.join(['python', *sys.argv]),
        'device': f'{gpu or platform.machine()}, {os.cpu_count()} CPU cores, '
        f'{torch.get_num_threads()} threads',
        'device_type': used.type,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmcv': mmcv.__version__,
        'mmdet': mmdet.__version__,
        'mmdet_detnet': __version__,
        'rows': [asdict(row) for row in rows],
    }
    path = _free_path(Path(out_dir), stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    plot_rows(rows, path.with_suffix('.png'), f'{name}: {report["device"]}')
    return path


def read_report(path: str | Path) -> dict:
    """Read what :func:`write_report` has written, the rows as :class:`Row`.

    Raises:
        ValueError: If the file is no report.
    """
    try:
        report = json.loads(Path(path).read_text())
        report['rows'] = [Row.from_dict(row) for row in report['rows']]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no report of this benchmark: {error!r}.') from error
    return report


def _free_path(folder: Path, stem: str) -> Path:
    path, number = folder / f'{stem}.json', 1
    while path.exists():
        number += 1
        path = folder / f'{stem}_{number}.json'
    return path


def _table(lines: list[dict[str, str]]) -> str:
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


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

"""The run as text and as a file."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import mmcv
import mmdet
import torch
from tabulate import tabulate

import mmdet_detnet

from .roofline import roofline
from .rows import Row
from .timing import Ratio
from .workload import Settings, Workload

TIMES = {'predict_seconds': 'inference', 'train_seconds': 'training step'}
MEMORY = {'predict_mib': 'inference memory', 'train_mib': 'training memory'}
MISSING = '-'


def format_comparison(rows: Sequence[Row]) -> str:
    """Lay a comparison out as text.

    Args:
        rows: Its rows, the reference last.

    Returns:
        Tables in Markdown: costs, the split of inference, the roofline; then the failures.
    """
    tables = [[_costs(row) for row in rows], [_split(row) for row in rows if row.parts]]
    tables.append(roofline(rows))
    failures = [f'FAILED {row.title}: {row.failure}' for row in rows if row.failure]
    return '\n\n'.join([*map(_table, filter(None, tables)), *failures])


def _table(lines: list[dict[str, str]]) -> str:
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


def _costs(row: Row) -> dict[str, str]:
    line = {
        'subject': row.title,
        'parameters': f'{row.parameters:,}' if row.parameters else MISSING,
        'GMACs': f'{sum(row.gmacs.values()):.1f}' if row.gmacs else MISSING,
    }
    for key, title in TIMES.items():
        seconds = getattr(row, key)
        line[title] = MISSING
        if seconds:
            line[title] = f'{statistics.median(seconds):.3f} s'
        elif row.failure:
            line[title] = 'failed'
        if key in row.ratios:
            line[title] += f': {format_ratio(row.ratios[key])}'
    for key, title in MEMORY.items():
        mebibytes = getattr(row, key)
        line[title] = MISSING if mebibytes is None else f'{mebibytes:.0f} MiB'
        if key in row.ratios:
            line[title] += f': {row.ratios[key].median:.3f}'
    return line


def format_ratio(ratio: Ratio) -> str:
    """Write a ratio with its quartiles.

    Args:
        ratio: Of two rows.

    Returns:
        Such as ``'1.030 (1.020 to 1.050)'``.
    """
    return f'{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})'


def _split(row: Row) -> dict[str, str]:
    line = {'inference of': row.title}
    for part, seconds in row.parts.items():
        line[part] = f'{statistics.median(seconds):.3f} s' if any(seconds) else MISSING
    line['sum'] = f'{statistics.median(map(sum, zip(*row.parts.values(), strict=True))):.3f} s'
    if row.proposals:
        line['survivors'] = f'{row.survivors} of {row.proposals}'
    return line


def write_report(
    folder: Path,
    names: Sequence[str],
    settings: Settings,
    device: torch.device,
    report: dict,
) -> Path:
    """Write everything that was measured as JSON, and never over an earlier run.

    Args:
        folder: Where the file goes.
        names: Of the comparisons.
        settings: How accelerated entries ran.
        device: Where they ran.
        report: What to write.

    Returns:
        The file; its name carries the comparisons, device, torch, precision, layout, and whether
        the detectors were compiled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = '_'.join(
        ['+'.join(names), device_name(device), f'torch{torch.__version__}', settings.name]
    )
    path, number = folder / f'benchmark_{stem}.json', 1
    while path.exists():
        number += 1
        path = folder / f'benchmark_{stem}_{number}.json'
    path.write_text(json.dumps(report, indent=1, default=asdict))
    return path


def device_name(device: torch.device) -> str:
    """Name a device in one word.

    Args:
        device: Any.

    Returns:
        ``'cpu'``, or the name of a GPU such as ``'nvidia-h200'``.
    """
    if device.type != 'cuda':
        return device.type
    return torch.cuda.get_device_name(device).lower().replace(' ', '-')


def describe_run(device: torch.device, workload: Workload) -> dict[str, object]:
    """Say where, when and how the figures were taken.

    Args:
        device: Where the subjects ran.
        workload: What they were given.

    Returns:
        Names and versions.
    """
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine()
    return {
        'date': date.today().isoformat(),
        'command': ' '.join(['python', *sys.argv]),
        'device': f'{name}, {os.cpu_count()} CPU cores, {torch.get_num_threads()} threads',
        'tf32_convolutions': torch.backends.cudnn.allow_tf32,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmcv': mmcv.__version__,
        'mmdet': mmdet.__version__,
        'mmdet_detnet': mmdet_detnet.__version__,
        'workload': asdict(workload),
    }

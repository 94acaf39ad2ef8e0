"""Measure what a detector costs, in turn with its counterpart of MMDetection and in one run.

Usage:
    python tools/benchmark.py detnet retinanet-conf    # known comparisons, see --help
    python tools/benchmark.py OURS.py STOCK.py         # any configs, the last is the reference
    python tools/benchmark.py detnet --height 320 --width 480 --rounds 5

Prints a table and writes it as JSON. Times are medians over the rounds; ratios are taken round by
round and given with their quartiles.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path

import mmcv
import mmdet
import torch
from benchmarking.comparison import Row, compare
from benchmarking.detectors import Workload
from tabulate import tabulate
from tqdm import tqdm

import mmdet_detnet

# Each list ends with MMDetection's counterpart, which the others are compared with.
COMPARISONS = {
    'detnet': [
        'detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r101_fpn_1x_coco.py',
    ],
    'ipgnet': [
        'ipgnet/faster-rcnn_ipgnet50_fpn_8xb4-1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    ],
    'retinanet-conf': [
        'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py',
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    ],
}


def main() -> None:
    """Run the command line."""
    args = parse_args()
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        sys.exit(f'benchmark: --device {args.device}, but torch sees no CUDA device here.')
    workload = Workload(args.height, args.width, args.batch, args.candidates)
    results = {}
    for name, configs in find_comparisons(args.what).items():
        steps = 2 * len(configs) * (args.rounds + args.warm_up)
        with tqdm(total=steps, desc=name) as bar:
            rows = compare(configs, workload, device, args.rounds, args.warm_up, bar.update)
        print(make_table(rows), flush=True)
        results[name] = [asdict(row) for row in rows]
    target = args.out_dir / f'benchmark_{device.type}_torch{torch.__version__}.json'
    args.out_dir.mkdir(parents=True, exist_ok=True)
    report = {**describe_run(device), 'workload': asdict(workload), 'results': results}
    target.write_text(json.dumps(report, indent=1))
    print(f'written to {target}')


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        Its options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'what', nargs='+', help=f'comparisons of {sorted(COMPARISONS)}, or two and more configs'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--height', type=int, default=800, help='of the images, in pixels')
    parser.add_argument('--width', type=int, default=1333, help='of the images, in pixels')
    parser.add_argument('--batch', type=int, default=1, help='number of images')
    parser.add_argument('--candidates', type=int, default=2000, help='scores above score_thr')
    parser.add_argument('--rounds', type=int, default=10, help='how often each is timed')
    parser.add_argument('--warm-up', type=int, default=2, help='how often each runs before')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser.parse_args()


def find_comparisons(what: list[str]) -> dict[str, list[str]]:
    """Turn the arguments into lists of configs.

    Args:
        what: Names of known comparisons, or configs.

    Returns:
        Configs to compare, the reference last, by name.
    """
    if all(name in COMPARISONS for name in what):
        return {name: COMPARISONS[name] for name in what}
    if len(what) < 2 or any(name in COMPARISONS for name in what):
        sys.exit(
            f'benchmark: give comparisons of {sorted(COMPARISONS)}, or at least two configs of '
            f'which the last is the reference; got {what}.'
        )
    return {Path(what[0]).stem: what}


def make_table(rows: list[Row]) -> str:
    """Lay the rows out as text.

    Args:
        rows: One for each detector, the reference last.

    Returns:
        A table in Markdown.
    """
    columns = {'predict_seconds': 'inference', 'train_seconds': 'training step'}
    memory = {'predict_mib': 'inference memory', 'train_mib': 'training memory'}
    lines = []
    for row in rows:
        line = {
            'config': Path(row.config.split('::')[-1]).stem,
            'parameters': f'{row.parameters:,}',
            'GMACs': f'{row.gmacs:.1f}',
        }
        for key, title in columns.items():
            ours = row.ratios[key]
            seconds = statistics.median(getattr(row, key))
            line[title] = f'{seconds:.3f} s: {ours.median:.3f} ({ours.low:.3f} to {ours.high:.3f})'
        for key, title in memory.items():
            line[title] = f'{getattr(row, key):.0f} MiB: {row.ratios[key].median:.3f}'
        lines.append(line)
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


def describe_run(device: torch.device) -> dict[str, str]:
    """Say where and when the figures were taken.

    Args:
        device: Where the detectors ran.

    Returns:
        Names and versions.
    """
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine()
    return {
        'date': date.today().isoformat(),
        'command': ' '.join(['python', 'tools/benchmark.py', *sys.argv[1:]]),
        'device': f'{name}, {os.cpu_count()} CPU cores, {torch.get_num_threads()} threads',
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmcv': mmcv.__version__,
        'mmdet': mmdet.__version__,
        'mmdet_detnet': mmdet_detnet.__version__,
    }


if __name__ == '__main__':
    main()

"""Measure detectors at several batch and image sizes, and estimate a training on COCO.

Usage:
    python tools/benchmark_scaling.py CONFIG [CONFIG ...] --batches 1 2 4 --sizes 400x666 800x1333

Prints a table of every workload and the estimate, and writes a JSON file and a plot. The estimate
is a model: see ``mmdet_detnet.analysis.benchmark.scaling.training_hours``.
"""

import argparse
import sys
from pathlib import Path

import torch
from tabulate import tabulate
from tqdm import tqdm

from mmdet_detnet.analysis.benchmark.comparison import Rounds, compare
from mmdet_detnet.analysis.benchmark.report import describe_run, format_comparison, write_report
from mmdet_detnet.analysis.benchmark.scaling import (
    COCO_IMAGES,
    EPOCHS_1X,
    Point,
    as_dictionaries,
    estimate_training,
    make_workloads,
    plot_scaling,
)
from mmdet_detnet.analysis.benchmark.workload import PLAIN, Entry
from mmdet_detnet.checkpoints import force_weights_only

GIGABIT = 1e9 / 8


def main() -> None:
    """Run the command line."""
    force_weights_only()
    args = parse_args()
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        sys.exit(f'benchmark_scaling: --device {args.device}, but torch sees no CUDA device here.')
    points = measure(args, device)
    estimate = estimate_training(points, args.images_per_gpu, args.bandwidth * GIGABIT)
    print(format_estimate(estimate, args))
    report = {
        **describe_run(device, points[-1].workload),
        'points': as_dictionaries(points),
        'bandwidth_gbit_per_s': args.bandwidth,
        'images_per_gpu': args.images_per_gpu,
        'estimate': estimate,
    }
    path = write_report(args.out_dir, ['scaling'], PLAIN, device, report)
    plot = plot_scaling(points, path.with_suffix('.png'))
    print(f'\nwritten to {path} and {plot}')
    if any(row.failure for point in points for row in point.rows):
        sys.exit('benchmark_scaling: not everything could be measured, see FAILED above.')


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        Its options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='detectors; ratios are to the last')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 2, 4])
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=_size,
        default=[(400, 667), (600, 1000), (800, 1333)],
        help='HEIGHTxWIDTH in pixels; the batches are measured at the last',
    )
    parser.add_argument('--base-batch', type=int, default=1, help='images where sizes vary')
    parser.add_argument('--rounds', type=int, default=5, help='how often each is timed')
    parser.add_argument('--warm-up', type=int, default=1, help='how often each runs before')
    parser.add_argument('--images-per-gpu', type=int, default=2, help='of the estimated training')
    parser.add_argument(
        '--bandwidth',
        type=float,
        default=100.0,
        help='of the slowest link between two GPUs of the estimated training, in Gbit/s',
    )
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    sides = text.split('x')
    if len(sides) != 2 or not all(side.isdigit() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f'must be like 800x1333 (height, width), got {text}')
    return int(sides[0]), int(sides[1])


def measure(args: argparse.Namespace, device: torch.device) -> list[Point]:
    """Measure all detectors at every workload.

    Args:
        args: Of the command line.
        device: Where they run.

    Returns:
        The rows of each workload.
    """
    entries = [Entry(config) for config in args.configs]
    points = []
    for workload in make_workloads(args.batches, args.sizes, args.base_batch):
        name = f'{workload.batch} x {workload.height} x {workload.width}'
        rounds = Rounds(args.rounds, args.warm_up)
        with tqdm(total=rounds.steps(entries), desc=name) as bar:
            rounds.progress = bar.update
            points.append(Point(workload, compare(entries, workload, device, rounds)))
        print(f'\n{name}\n\n{format_comparison(points[-1].rows)}\n', flush=True)
    return points


def format_estimate(estimate: list[dict], args: argparse.Namespace) -> str:
    """Lay the estimate out as text.

    Args:
        estimate: Lines of a table.
        args: Of the command line.

    Returns:
        What was assumed, and the table.
    """
    if not estimate:
        return f'No estimate: nothing was measured with {args.images_per_gpu} images in a batch.'
    assumed = (
        f'ESTIMATE, not measured: {EPOCHS_1X} epochs of {COCO_IMAGES:,} images, '
        f'{args.images_per_gpu} images a step on each device, each as fast as this one; gradients '
        f'in float32 around a ring of {args.bandwidth:g} Gbit/s, not overlapped; no validation.'
    )
    return f'{assumed}\n\n{tabulate(estimate, headers="keys", tablefmt="github", floatfmt=".1f")}'


if __name__ == '__main__':
    main()

"""Measure what a module costs, in turn with its counterpart of MMDetection and in one run.

Usage:
    python tools/benchmark.py detnet retinanet-conf    # known comparisons, see --help
    python tools/benchmark.py OURS.py STOCK.py         # any configs, the last is the reference
    python tools/benchmark.py detnet --height 320 --width 480 --rounds 5
    python tools/benchmark.py detnet --amp bf16 --channels-last --compile --accelerate added

Prints tables, and writes a JSON file and a plot. Times are medians
over the rounds; ratios are taken round by round and given with their quartiles. The exit status is
1 if anything could not be measured.
"""

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from mmdet_detnet.analysis.benchmark.catalogue import (
    COMPARISONS,
    Comparison,
    find_comparisons,
    make_entries,
)
from mmdet_detnet.analysis.benchmark.comparison import Rounds, compare
from mmdet_detnet.analysis.benchmark.plots import plot_report
from mmdet_detnet.analysis.benchmark.report import (
    describe_run,
    format_comparison,
    write_report,
)
from mmdet_detnet.analysis.benchmark.rows import Row
from mmdet_detnet.analysis.benchmark.workload import Settings, Workload
from mmdet_detnet.checkpoints import force_weights_only


def main() -> None:
    """Run the command line."""
    force_weights_only()
    args = parse_args()
    device = _check_device(args)
    comparisons = find_comparisons(args.what)
    settings = Settings(args.amp or 'fp32', args.channels_last, args.compile)
    workload = Workload(args.height, args.width, args.batch, args.candidates, args.survivors)
    results = {}
    for name, comparison in comparisons.items():
        rows = run_comparison(name, comparison, settings, workload, device, args)
        print(f'\n{name}\n\n{format_comparison(rows)}\n', flush=True)
        results[name] = [asdict(row) for row in rows]
    report = {
        **describe_run(device, workload),
        'settings': settings.name,
        'accelerate': args.accelerate,
        'results': results,
    }
    names = args.what if set(args.what) <= set(COMPARISONS) else list(comparisons)
    _save(write_report(args.out_dir, names, settings, device, report), report)


def _check_device(args: argparse.Namespace) -> torch.device:
    """Refuse a GPU that is not there, and leave out what a CPU cannot do."""
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        sys.exit(f'benchmark: --device {args.device}, but torch sees no CUDA device here.')
    if args.amp and device.type == 'cpu' and not args.no_training:
        print("Inference only: mmcv's NMS on the CPU, part of training, knows float32 alone.")
        args.no_training = True
    return device


def _save(path: Path, report: dict) -> None:
    """Draw the plot beside the file, and end with status 1 if something failed."""
    plot = plot_report(report, path.with_suffix('.png'))
    print(f'\nwritten to {path}' + (f' and {plot}' if plot else ''))
    failures = [row for rows in report['results'].values() for row in rows if row['failure']]
    if failures:
        sys.exit(f'benchmark: {len(failures)} could not be measured, see FAILED above.')


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
    _add_workload(parser)
    parser.add_argument('--rounds', type=_positive, default=10, help='how often each is timed')
    parser.add_argument('--warm-up', type=int, default=2, help='how often each runs before')
    parser.add_argument('--no-training', action='store_true', help='measure inference only')
    parser.add_argument('--amp', choices=['fp16', 'bf16'], help='precision of accelerated rows')
    parser.add_argument('--channels-last', action='store_true', help='layout of accelerated rows')
    parser.add_argument('--compile', action='store_true', help='compile accelerated rows')
    parser.add_argument(
        '--accelerate',
        choices=['all', 'ours', 'added'],
        default='all',
        help='what the three options above apply to: every row, every row but the reference, or '
        'a second row for every config, beside the one that runs as MMDetection runs it',
    )
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser.parse_args()


def _add_workload(parser: argparse.ArgumentParser) -> None:
    default = Workload()
    parser.add_argument('--height', type=_positive, default=default.height, help='in pixels')
    parser.add_argument('--width', type=_positive, default=default.width, help='in pixels')
    parser.add_argument('--batch', type=_positive, default=default.batch, help='number of images')
    parser.add_argument(
        '--candidates',
        type=_positive,
        default=default.candidates,
        help='one-stage: scores above score_thr in an image',
    )
    parser.add_argument(
        '--survivors',
        type=int,
        default=default.survivors,
        help='two-stage: proposals of an image with a foreground score above score_thr',
    )
    parser.add_argument(
        '--checkpoints', nargs='+', default=[], help="weights, in the order of a user's configs"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {text}')
    return value


def run_comparison(
    name: str,
    comparison: Comparison,
    settings: Settings,
    workload: Workload,
    device: torch.device,
    args: argparse.Namespace,
) -> list[Row]:
    """Measure one comparison behind a progress bar.

    Args:
        name: Shown at the bar.
        comparison: What to compare.
        settings: Of accelerated rows.
        workload: What every row is given.
        device: Where it runs.
        args: The further options of the command line.

    Returns:
        A row for each entry, the reference last.
    """
    if args.checkpoints and len(args.checkpoints) != len(comparison.configs):
        sys.exit(
            f'benchmark: --checkpoints needs one file for each of {list(comparison.configs)}, got '
            f'{args.checkpoints}.'
        )
    if comparison.survivors is not None:
        workload = replace(workload, survivors=comparison.survivors)
    entries = make_entries(comparison, settings, args.accelerate, args.checkpoints)
    rounds = Rounds(args.rounds, args.warm_up, training=not args.no_training)
    with tqdm(total=rounds.steps(entries), desc=name) as bar:
        return compare(entries, workload, device, replace(rounds, progress=bar.update))


if __name__ == '__main__':
    main()

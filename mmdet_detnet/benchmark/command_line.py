"""Options and final output of the benchmark scripts."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.device import get_device

from mmdet_detnet.cli import at_least
from mmdet_detnet.cli import make_parser as make_plain_parser

from .report import Report, format_rows
from .rows import Row
from .workload import PLAIN, Rounds, Settings, Workload

# Defaults with --quick, for a result in about two minutes on two cores.
QUICK = dict(height=320, width=480, warm_up=1)
QUICK_SECONDS = 80
INTERRUPTED = 130  # exit status of a program ended by Ctrl-C


def make_parser(description: str, rounds: int, warm_up: int) -> argparse.ArgumentParser:
    """Make a parser with options for device, workload, rounds and output."""
    parser = make_plain_parser(description)
    parser.add_argument('--device', type=torch.device, default=get_device())
    for name, text in (
        ('height', 'in pixels'),
        ('width', 'in pixels'),
        ('batch', 'number of images'),
        ('candidates', 'one-stage: scores above score_thr in an image'),
        ('survivors', 'two-stage: proposals of an image with a score above score_thr'),
    ):
        default = getattr(Workload(), name)
        parser.add_argument(f'--{name}', type=at_least(1), default=default, help=text)
    parser.add_argument('--rounds', type=at_least(1), default=rounds, help='number of timed runs')
    parser.add_argument('--warm-up', type=at_least(0), default=warm_up, help='untimed runs before')
    parser.add_argument('--no-training', action='store_true', help='measure inference only')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser


def add_acceleration(parser: argparse.ArgumentParser) -> None:
    """Add options for accelerated rows, weights and a quick run."""
    parser.add_argument('--amp', choices=['fp16', 'bf16'], help='precision of accelerated rows')
    parser.add_argument('--channels-last', action='store_true', help='layout of accelerated rows')
    parser.add_argument('--compile', action='store_true', help='compile accelerated rows')
    parser.add_argument(
        '--accelerate',
        choices=['all', 'ours', 'added'],
        default='all',
        help='rows that the three options above apply to: all, all but the reference, or '
        'an additional row for each config',
    )
    parser.add_argument('--checkpoints', nargs='+', default=[], help='weights, one file per config')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a result in about two minutes: a small image, no split, no memory, and as many '
        f'rounds as {QUICK_SECONDS} s allow',
    )


def read_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; --quick changes the defaults of other options."""
    args = parser.parse_args()
    if args.quick:
        parser.set_defaults(**QUICK)
        args = parser.parse_args()
    return args


def read_workload(args: argparse.Namespace) -> Workload:
    """Read the workload of the command line."""
    return Workload(args.height, args.width, args.batch, args.candidates, args.survivors)


def read_rounds(args: argparse.Namespace, settings: Settings = PLAIN) -> Rounds:
    """Read the rounds; reject a missing GPU, and skip what a CPU cannot do."""
    if args.device.type == 'cuda' and not torch.cuda.is_available():
        sys.exit(f'--device {args.device}: torch sees no CUDA device here.')
    training = not args.no_training
    if training and settings.precision != 'fp32' and args.device.type == 'cpu':
        print("Inference only: mmcv's NMS on the CPU, part of training, supports only float32.")
        training = False
    quick = getattr(args, 'quick', False)
    seconds = QUICK_SECONDS if quick else None
    return Rounds(args.rounds, args.warm_up, training, not quick, not quick, seconds)


@contextmanager
def reporting(rows: Sequence[Row], args: argparse.Namespace, name: str) -> Iterator[Report]:
    """Print and plot the results at the end; also after Ctrl-C, before exiting."""
    report = Report(rows, args.out_dir, name, args.device)
    interrupted = False
    try:
        yield report
    except KeyboardInterrupt:
        interrupted = True
    report.write()
    report.draw()
    for workload in dict.fromkeys(row.workload for row in rows):
        table = format_rows([row for row in rows if row.workload == workload])
        print(f'\n{name}, {workload}\n\n{table}')
    print(f'\nwritten to {report.path}', flush=True)
    if interrupted:
        print('benchmark: interrupted; the tables hold the finished rounds.', file=sys.stderr)
        sys.exit(INTERRUPTED)

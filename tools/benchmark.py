"""Measure the cost of a module next to MMDetection's counterpart, in turn in one run.

    python tools/benchmark.py detnet retinanet-conf    # known comparisons
    python tools/benchmark.py OURS.py THEIRS.py        # any configs, the last is the reference
    python tools/benchmark.py 'A.py model.roi_head.gate_score_thr=0.05' A.py
    python tools/benchmark.py double-head --quick
    python tools/benchmark.py detnet --batch 1 2 4 --size 400x667 800x1333
    python tools/benchmark.py detnet --amp bf16 --channels-last --compile --accelerate added

Shows progress bars, prints tables, and writes a JSON file for each comparison. Times are medians
over the rounds; ratios are taken within each round and given with quartiles. The exit status is 1
if anything could not be measured. After Ctrl-C, there are tables and a file of the finished rounds,
and the exit status is 130.
"""

import argparse
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import mmdet_detnet  # noqa: F401  (before torch, whose OpenMP reads what it sets)

# isort: split
from mmengine.device import get_device

from mmdet_detnet.benchmark import (
    Rounds,
    Row,
    Settings,
    Workload,
    format_rows,
    make_rows,
    measure,
    write_results,
)
from mmdet_detnet.benchmark.comparisons import COMPARISONS, find_comparisons, make_entries
from mmdet_detnet.benchmark.measurement import warn_if_busy
from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.command_line import at_least, make_parser

INTERRUPTED = 130  # exit status of a program ended by Ctrl-C
# Changed defaults with --quick.
QUICK = dict(size=[(320, 480)], rounds=3, warm_up=1)


def image_size(text: str) -> tuple[int, int]:
    """Read an option such as ``800x1333``: height and width."""
    sides = text.split('x')
    if len(sides) != 2 or not all(side.isdigit() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f'must be like 800x1333 (height, width), got {text}')
    return int(sides[0]), int(sides[1])


def parse_args() -> argparse.Namespace:
    """Read the command line; --quick changes the defaults of other options."""
    parser = make_parser(__doc__, '--device')
    add = parser.add_argument
    text = f'comparisons ({", ".join(sorted(COMPARISONS))}), or two or more configs'
    add('what', nargs='+', help=text)
    text = 'HEIGHTxWIDTH of the images, in pixels; several are measured in turn'
    add('--size', nargs='+', type=image_size, default=[(800, 1333)], help=text)
    add('--batch', nargs='+', type=at_least(1), default=[1], help='images of a batch; likewise')
    text = 'one-stage: scores above score_thr, per image'
    add('--candidates', type=at_least(1), default=Workload.candidates, help=text)
    text = 'two-stage: proposals with a score above score_thr, per image'
    add('--passing', type=at_least(1), default=Workload.passing, help=text)
    add('--rounds', type=at_least(1), default=10, help='timed runs; default: %(default)s')
    add('--warm-up', type=at_least(0), default=2, help='untimed ones before; default: %(default)s')
    add('--no-training', action='store_true', help='measure inference only')
    add('--out-dir', type=Path, default=Path('work_dirs/benchmark'), help='default: %(default)s')
    add('--amp', choices=['fp16', 'bf16'], help='precision of accelerated rows')
    add('--channels-last', action='store_true', help='memory layout of accelerated rows')
    add('--compile', action='store_true', help='compile accelerated rows')
    text = 'rows that the options above apply to: all, all but the reference, or additional ones'
    add('--accelerate', choices=['all', 'ours', 'added'], default='all', help=text)
    add('--checkpoints', nargs='+', default=[], help='weights, one file per config')
    text = 'small images, three rounds, no split, no memory'
    add('--quick', action='store_true', help=text)
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    args = parser.parse_args()
    on_cpu = (args.device or get_device()).startswith('cpu')
    if args.amp and on_cpu and not args.no_training:
        print("Inference only: mmcv's NMS on the CPU, part of training, supports only float32.")
        args.no_training = True
    return args


def make_all_rows(args: argparse.Namespace) -> dict[str, list[list[Row]]]:
    """Make the rows of each comparison, those of each workload with a reference of their own."""
    settings = Settings(args.amp or 'fp32', args.channels_last, args.compile)
    workloads = [
        Workload(*size, batch, args.candidates, args.passing)
        for size, batch in product(args.size, args.batch)
    ]
    rows = {}
    for name, comparison in find_comparisons(args.what).items():
        entries = make_entries(comparison, settings, args.accelerate, args.checkpoints)
        rows[name] = [
            make_rows(entries, replace(each, passing=comparison.passing or each.passing))
            for each in workloads
        ]
    return rows


def main() -> None:
    """Run the command line."""
    force_weights_only()
    args = parse_args()
    warn_if_busy()
    try:
        rows = make_all_rows(args)
    except ValueError as error:
        sys.exit(f'benchmark: {error}')
    rounds = Rounds(
        args.rounds,
        args.warm_up,
        training=not args.no_training,
        split=not args.quick,
        memory=not args.quick,
    )
    is_interrupted, failures = False, 0
    for name, by_workload in rows.items():
        try:
            for of_workload in by_workload:
                measure(of_workload, rounds, args.device)
        except KeyboardInterrupt:
            is_interrupted = True
        for of_workload in by_workload:
            print(f'\n{name}, {of_workload[0].workload}\n\n{format_rows(of_workload)}')
        every_row = [row for of_workload in by_workload for row in of_workload]
        failures += sum(row.failure is not None for row in every_row)
        file = write_results(every_row, args.out_dir, name, args.device)
        print(f'\nwritten to {file}', flush=True)
        if is_interrupted:
            print('benchmark: interrupted; the tables show the finished rounds.', file=sys.stderr)
            sys.exit(INTERRUPTED)
    if failures:
        sys.exit(f'benchmark: {failures} could not be measured, see FAILED above.')


if __name__ == '__main__':
    main()

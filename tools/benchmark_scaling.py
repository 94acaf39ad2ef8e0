"""Measure detectors at several batch and image sizes.

    python tools/benchmark_scaling.py CONFIG [CONFIG ...] --batches 1 2 4 --sizes 400x667 800x1333

Prints a table of each workload, and writes a plot and, after every round, a JSON file. Ctrl-C
prints the results so far, with exit status 130.
"""

import argparse
import sys

from mmdet_detnet.benchmark import Workload, make_rows, measure
from mmdet_detnet.benchmark.command_line import make_parser, read_rounds, reporting
from mmdet_detnet.benchmark.estimate import format_estimate
from mmdet_detnet.checkpoints import force_weights_only
from mmdet_detnet.cli import at_least


def size(text: str) -> tuple[int, int]:
    """Read an option such as ``800x1333``: height and width."""
    sides = text.split('x')
    if len(sides) != 2 or not all(side.isdigit() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f'must be like 800x1333 (height, width), got {text}')
    return int(sides[0]), int(sides[1])


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__, rounds=5, warm_up=1)
    parser.add_argument('configs', nargs='+', help='detectors; ratios are to the last')
    batches = [1, 2, 4]
    parser.add_argument('--batches', nargs='+', type=at_least(1), default=batches)
    sizes = [(400, 667), (600, 1000), (800, 1333)]
    parser.add_argument('--sizes', nargs='+', type=size, default=sizes, help='HEIGHTxWIDTH, pixels')
    parser.add_argument('--base-batch', type=at_least(1), default=1, help='batch for the sizes')
    args = parser.parse_args()
    shapes = [(*args.sizes[-1], batch) for batch in args.batches]
    shapes += [(*each, args.base_batch) for each in args.sizes]
    rounds = read_rounds(args)
    rows_by_shape = [make_rows(args.configs, Workload(*shape)) for shape in dict.fromkeys(shapes)]
    rows = [row for some in rows_by_shape for row in some]
    print(format_estimate(rows, rounds, args.device), flush=True)
    with reporting(rows, args, 'scaling') as report:
        for some in rows_by_shape:
            measure(some, rounds, args.device, report.write)
    if any(row.failure for row in rows):
        sys.exit('benchmark_scaling: not everything could be measured, see FAILED above.')


if __name__ == '__main__':
    main()

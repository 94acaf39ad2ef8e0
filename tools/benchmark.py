"""Measure the cost of a module beside MMDetection's counterpart, in turn in one run.

    python tools/benchmark.py detnet retinanet-conf    # known comparisons
    python tools/benchmark.py OURS.py STOCK.py         # any configs, the last is the reference
    python tools/benchmark.py 'A.py model.roi_head.gate_score_thr=0.05' A.py
    python tools/benchmark.py double-head --quick
    python tools/benchmark.py detnet --amp bf16 --channels-last --compile --accelerate added

First estimates how long it will take, then prints one line per measurement (a bar on a terminal)
and tables, and writes a plot and, after every round, a JSON file for each comparison. Times are
medians over the rounds; ratios are taken within each round and given with quartiles. The exit
status is 1 if anything could not be measured. After Ctrl-C, the tables of the finished rounds are
printed, and the exit status is 130.
"""

import sys
from dataclasses import replace

from mmdet_detnet.benchmark import Settings, command_line, make_rows, measure
from mmdet_detnet.benchmark.catalogue import COMPARISONS, find_comparisons, make_entries
from mmdet_detnet.benchmark.estimate import format_estimate
from mmdet_detnet.checkpoints import force_weights_only


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = command_line.make_parser(__doc__, rounds=10, warm_up=2)
    parser.add_argument(
        'what', nargs='+', help=f'of {sorted(COMPARISONS)}, or two configs and more'
    )
    command_line.add_acceleration(parser)
    args = command_line.read_arguments(parser)
    settings = Settings(args.amp or 'fp32', args.channels_last, args.compile)
    rounds = command_line.read_rounds(args, settings)
    workload, rows = command_line.read_workload(args), {}
    try:
        for name, comparison in find_comparisons(args.what).items():
            entries = make_entries(comparison, settings, args.accelerate, args.checkpoints)
            survivors = comparison.survivors or workload.survivors
            rows[name] = make_rows(entries, replace(workload, survivors=survivors))
    except ValueError as error:
        sys.exit(f'benchmark: {error}')
    every_row = [row for some in rows.values() for row in some]
    print(format_estimate(every_row, rounds, args.device), flush=True)
    for name, some in rows.items():
        with command_line.reporting(some, args, name) as report:
            measure(some, rounds, args.device, report.write)
    failures = sum(row.failure is not None for row in every_row)
    if failures:
        sys.exit(f'benchmark: {failures} could not be measured, see FAILED above.')


if __name__ == '__main__':
    main()

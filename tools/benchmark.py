"""Measure what a module costs, in turn with its counterpart of MMDetection and in one run.

    python tools/benchmark.py detnet retinanet-conf    # known comparisons
    python tools/benchmark.py OURS.py STOCK.py         # any configs, the last is the reference
    python tools/benchmark.py detnet --height 320 --width 480 --rounds 5
    python tools/benchmark.py detnet --amp bf16 --channels-last --compile --accelerate added

Prints tables, and writes a JSON file and a plot for each comparison. Times are medians over the
rounds; ratios are taken round by round and given with their quartiles. The exit status is 1 if
anything could not be measured.
"""

import sys
from dataclasses import replace

from benchmark_options import make_parser, read_rounds, read_workload

from mmdet_detnet.analysis.benchmark import Settings, compare, format_rows, write_report
from mmdet_detnet.analysis.benchmark.catalogue import COMPARISONS, find_comparisons, make_entries
from mmdet_detnet.checkpoints import force_weights_only


def main() -> None:
    """Run the command line."""
    force_weights_only()
    parser = make_parser(__doc__, rounds=10, warm_up=2)
    parser.add_argument(
        'what', nargs='+', help=f'of {sorted(COMPARISONS)}, or two configs and more'
    )
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
    parser.add_argument('--checkpoints', nargs='+', default=[], help='weights, one for each config')
    args = parser.parse_args()
    settings = Settings(args.amp or 'fp32', args.channels_last, args.compile)
    rounds, workload, failures = read_rounds(args, settings), read_workload(args), 0
    try:
        comparisons = find_comparisons(args.what)
        entries = {
            name: make_entries(comparison, settings, args.accelerate, args.checkpoints)
            for name, comparison in comparisons.items()
        }
    except ValueError as error:
        sys.exit(f'benchmark: {error}')
    for name, comparison in comparisons.items():
        survivors = comparison.survivors or workload.survivors
        rows = compare(entries[name], replace(workload, survivors=survivors), rounds, args.device)
        print(f'\n{name}\n\n{format_rows(rows)}\n')
        print('written to', write_report(rows, args.out_dir, name, args.device), flush=True)
        failures += sum(row.failure is not None for row in rows)
    if failures:
        sys.exit(f'benchmark: {failures} could not be measured, see FAILED above.')


if __name__ == '__main__':
    main()

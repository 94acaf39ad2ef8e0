"""Time mmcv's operators in PyTorch and compiled, in turn: alone and in detectors.

    python tools/benchmark_operators.py --rounds 5
    python tools/benchmark_operators.py --device cuda

Needs mmcv's compiled operators. Prints medians in milliseconds and the ratio of ours to mmcv's;
"both" means forward and backward pass.
"""

import itertools
import sys

import mmdet_detnet  # noqa: F401  (before torch, whose OpenMP reads what it sets)

# isort: split
import torch

from mmdet_detnet.benchmark.operators import compare_detectors, compare_operators
from mmdet_detnet.cli import at_least, make_parser
from mmdet_detnet.operators import has_compiled_operators


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--rounds', type=at_least(1), default=5, help='number of timed runs')
    parser.add_argument('--device', type=torch.device, default='cpu', help='device to measure on')
    args = parser.parse_args()
    if not has_compiled_operators():
        sys.exit('benchmark_operators: the installed mmcv has no compiled operators.')
    print('| operator | pass | PyTorch (ms) | compiled (ms) | ratio |\n|---|---|---|---|---|')
    rows = (compare(args.rounds, args.device) for compare in (compare_operators, compare_detectors))
    for name, what, ours, compiled in itertools.chain.from_iterable(rows):
        times = f'{ours * 1e3:.1f} | {compiled * 1e3:.1f} | {ours / compiled:.2f}'
        print(f'| {name} | {what} | {times} |', flush=True)


if __name__ == '__main__':
    main()

"""Time mmcv's operators in PyTorch, of torchvision and compiled, in turn: alone and in detectors.

    python tools/benchmark_operators.py --rounds 5 --threads 1
    python tools/benchmark_operators.py --device cuda

Prints the median milliseconds of those that the environment has; "both" means forward and backward
pass.
"""

import itertools

import mmdet_detnet  # noqa: F401  (before torch, whose OpenMP reads what it sets)

# isort: split
import torch

from mmdet_detnet.benchmark.operators import (
    compare_detectors,
    compare_operators,
    find_implementations,
)
from mmdet_detnet.command_line import at_least, make_parser, usable_device


def main() -> None:
    """Run the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('--rounds', type=at_least(1), default=5, help='default: %(default)s')
    parser.add_argument('--device', type=usable_device, default='cpu', help='device to measure on')
    parser.add_argument('--threads', type=at_least(1), help='threads; default: as torch chooses')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    titles = ['operator', 'pass', *(f'{each} (ms)' for each in find_implementations(device))]
    print(f'| {" | ".join(titles)} |\n{"|---" * len(titles)}|')
    rows = (compare(args.rounds, device) for compare in (compare_operators, compare_detectors))
    for name, what, seconds in itertools.chain.from_iterable(rows):
        times = ' | '.join(f'{each * 1e3:.1f}' for each in seconds.values())
        print(f'| {name} | {what} | {times} |', flush=True)


if __name__ == '__main__':
    main()

"""Measure memory growth in long training or prediction with images of varying size.

Prints KiB per iteration: the slope of a line through the resident memory of the last two thirds. On
a CPU, oneDNN caches code for up to 1024 layer shapes (``ONEDNN_PRIMITIVE_CACHE_CAPACITY``), which
grows with varying sizes.

Usage:
    python dev/measure_memory.py {train,predict} [--images 300] [--size 64 192]
        [--config CONFIG] [--accelerate {compiled,bf16}]
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from run_demo import CONFIG
from torch import nn

from mmdet_detnet.benchmark import Workload
from mmdet_detnet.benchmark.building import build_detector, load_with_settings, make_batch
from mmdet_detnet.cli import make_parser
from mmdet_detnet.deployment.acceleration import accelerate

CPU = torch.device('cpu')
POINTS_SHOWN = 20
PAGE = os.sysconf('SC_PAGE_SIZE')


def resident_kib() -> float:
    """Read the resident memory of this process."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE / 1024


def make_batches(detector: nn.Module, number: int, shortest: int, longest: int) -> Iterator[dict]:
    """Make preprocessed images of random sizes, one per batch."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(shortest, longest + 1, (number, 2), generator=generator)
    for height, width in sizes.tolist():
        yield make_batch(detector, Workload(height, width), CPU)


def make_training_step(detector: nn.Module) -> Callable[[dict], object]:
    """Make a training step of SGD at a rate of 0, which keeps the weights."""
    detector.train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0, momentum=0.9)

    def step(data: dict) -> None:
        loss, _ = detector.parse_losses(detector(**data, mode='loss'))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_prediction_step(detector: nn.Module) -> Callable[[dict], object]:
    """Make a step that detects without gradients."""
    return torch.no_grad()(partial(detector, mode='predict'))


def measure(step: Callable[[dict], object], batches: Iterator[dict]) -> tuple[float, list[float]]:
    """Run a step on all batches; return KiB per iteration, and the memory after each."""
    memory, slowest, start = [], 0.0, time.monotonic()
    for index, data in enumerate(batches):
        before = time.monotonic()
        step(data)
        if index > 10:
            slowest = max(slowest, time.monotonic() - before)
        memory.append(resident_kib())
    rest = memory[len(memory) // 3 :]
    slope = np.polyfit(np.arange(len(rest)), rest, 1)[0]
    print(
        f'{len(memory)} iterations in {time.monotonic() - start:.0f} s, the slowest after the '
        f'first ten {slowest:.1f} s'
    )
    return slope, memory


def main() -> None:
    """Measure with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('task', choices=['train', 'predict'])
    parser.add_argument('--images', type=int, default=300)
    parser.add_argument('--size', type=int, nargs=2, default=(64, 192), metavar=('FROM', 'TO'))
    parser.add_argument('--config', default=CONFIG)
    parser.add_argument('--accelerate', choices=['compiled', 'bf16'])
    args = parser.parse_args()
    detector = build_detector(load_with_settings(args.config), Workload(), CPU)
    if args.accelerate:
        dtype = 'bf16' if args.accelerate == 'bf16' else None
        accelerate(detector, compile=dtype is None, dtype=dtype)
    make_step = make_training_step if args.task == 'train' else make_prediction_step
    batches = make_batches(detector, args.images, *args.size)
    slope, memory = measure(make_step(detector), batches)
    capacity = os.environ.get('ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'its default')
    print(f'{" ".join(sys.argv[1:])}, capacity of the oneDNN cache {capacity}:')
    print(f'{slope:.1f} KiB per iteration; {memory[0] / 1024:.0f} to {memory[-1] / 1024:.0f} MiB')
    course = memory[:: max(len(memory) // POINTS_SHOWN, 1)]
    print('MiB on the way:', *(f'{each / 1024:.0f}' for each in course))


if __name__ == '__main__':
    main()

"""Measure memory growth in long training or prediction with images of varying size.

Prints KiB per iteration: the slope of a line through the resident memory of the last two thirds. On
a CPU, oneDNN caches code for up to 1024 layer shapes (``ONEDNN_PRIMITIVE_CACHE_CAPACITY``), which
grows with varying sizes.

Usage:
    python dev/measure_memory.py {train,predict} [--images 300] [--size 64 192]
        [--config CONFIG] [--accelerate {compiled,bf16}]
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmdet_detnet import config_path
from mmdet_detnet.acceleration import accelerate

CONFIG = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
NUM_CLASSES = 3
POINTS_SHOWN = 20
PAGE = os.sysconf('SC_PAGE_SIZE')


def resident_kib() -> float:
    """Read the resident memory of this process."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE / 1024


def make_batches(number: int, shortest: int, longest: int) -> Iterator[dict]:
    """Make single images of random sizes, each with two boxes."""
    generator = torch.Generator().manual_seed(0)
    for index in range(number):
        height, width = torch.randint(shortest, longest + 1, (2,), generator=generator).tolist()
        image = torch.randint(256, (3, height, width), generator=generator).byte()
        sample = DetDataSample(
            metainfo=dict(
                img_id=index,
                img_shape=(height, width),
                ori_shape=(height, width),
                scale_factor=(1.0, 1.0),
            )
        )
        boxes = torch.tensor([[0.1, 0.2, 0.5, 0.7], [0.4, 0.3, 0.9, 0.8]])
        sample.gt_instances = InstanceData(
            bboxes=boxes * torch.tensor([width, height, width, height]),
            labels=torch.tensor([0, NUM_CLASSES - 1]),
        )
        yield dict(inputs=[image], data_samples=[sample])


def make_training_step(detector: nn.Module) -> Callable[[dict], None]:
    """Train with SGD at a rate of 0, which keeps the weights."""
    optimizer = torch.optim.SGD(detector.parameters(), lr=0, momentum=0.9)

    def step(data: dict) -> None:
        losses = detector(**detector.data_preprocessor(data, training=True), mode='loss')
        detector.parse_losses(losses)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def build(config_file: str) -> nn.Module:
    """Build the detector of a config with random weights, on the CPU."""
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    model = Config.fromfile(config_file).model
    for part in [model.backbone, model.get('backbone', {})]:
        part.pop('init_cfg', None)
    return MODELS.build(model)


def measure(step: Callable[[dict], None], batches: Iterator[dict]) -> tuple[float, list[float]]:
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
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('task', choices=['train', 'predict'])
    parser.add_argument('--images', type=int, default=300)
    parser.add_argument('--size', type=int, nargs=2, default=(64, 192), metavar=('FROM', 'TO'))
    parser.add_argument('--config', default=config_path(CONFIG))
    parser.add_argument('--accelerate', choices=['compiled', 'bf16'])
    arguments = parser.parse_args()

    detector = build(arguments.config)
    batches = make_batches(arguments.images, *arguments.size)
    if arguments.task == 'train':
        step = make_training_step(detector.train())
    else:
        detector.eval()
        if arguments.accelerate:
            dtype = 'bf16' if arguments.accelerate == 'bf16' else None
            accelerate(detector, compile=dtype is None, dtype=dtype)
        step = torch.no_grad()(detector.test_step)
    slope, memory = measure(step, batches)
    capacity = os.environ.get('ONEDNN_PRIMITIVE_CACHE_CAPACITY', 'its default')
    print(f'{" ".join(sys.argv[1:])}, capacity of the oneDNN cache {capacity}:')
    print(f'{slope:.1f} KiB an iteration; {memory[0] / 1024:.0f} to {memory[-1] / 1024:.0f} MiB')
    course = memory[:: max(len(memory) // POINTS_SHOWN, 1)]
    print('MiB on the way:', *(f'{each / 1024:.0f}' for each in course))


if __name__ == '__main__':
    main()

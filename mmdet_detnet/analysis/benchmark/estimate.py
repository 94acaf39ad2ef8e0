"""Estimate how long a comparison will take."""

import time
from collections.abc import Sequence

import torch
from torch import nn

from .rows import Row
from .subjects import SUBJECTS
from .timing import wait_for
from .workload import Rounds

# Time of a training step relative to inference: a forward pass and two gradients of similar cost.
TRAINING_FACTOR = 2.5
# Seconds to start a process with torch and mmdet.
START_SECONDS = 10
# A bottleneck of ResNet-50's first stage for an image of 800x1333.
CHANNELS, WIDTH, HEIGHT_ON_MAP, WIDTH_ON_MAP = 256, 64, 200, 336


def estimate_seconds(rows: Sequence[Row], rounds: Rounds, gmacs_per_second: float) -> float:
    """Estimate the time from multiply-adds, within about a factor of two.

    Args:
        rows: Rows with counts; a failed row without multiply-adds takes no time.
        rounds: Number of runs of each action.
        gmacs_per_second: Output of :func:`measure_speed`.

    Returns:
        Seconds for all rows.
    """
    seconds = 0.0
    for row in rows:
        actions = rounds.actions(SUBJECTS[row.entry.kind].actions)
        training = actions.pop('train', 0)
        # One more run of each for the memory, and one inference for the scores.
        inferences = 1 + sum(actions.values()) + rounds.memory
        steps = training + (training > 0) * rounds.memory
        runs = inferences + TRAINING_FACTOR * steps
        gmacs = sum(row.gmacs.values()) * row.workload.batch
        seconds += runs * gmacs / gmacs_per_second + START_SECONDS * rounds.memory
    return seconds


def format_estimate(rows: Sequence[Row], rounds: Rounds, device: torch.device) -> str:
    """Describe how long rows will take on this machine.

    Args:
        rows: Rows of all comparisons to measure.
        rounds: Number of runs of each action.
        device: Device to measure on.

    Returns:
        A sentence.
    """
    speed = measure_speed(device)
    minutes = estimate_seconds(rows, rounds, speed) / 60
    return (
        f'About {max(1, round(minutes))} min for {len(rows)} rows, by their multiply-adds and the '
        f'speed of a ResNet block here ({speed:.0f} GMAC/s). Ctrl-C ends with what was measured.'
    )


def measure_speed(device: torch.device) -> float:
    """Measure the speed of the machine in 1e9 multiply-adds per second, on a ResNet-50 block."""
    block = nn.Sequential(
        nn.Conv2d(CHANNELS, WIDTH, 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.Conv2d(WIDTH, CHANNELS, 1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
    )
    weights = sum(parameter.numel() for parameter in block.parameters() if parameter.dim() == 4)
    image = torch.ones(1, CHANNELS, HEIGHT_ON_MAP, WIDTH_ON_MAP, device=device)
    block = block.to(device).eval()
    with torch.no_grad():
        block(image)
        wait_for(device)
        start = time.perf_counter()
        block(image)
        wait_for(device)
    return weights * HEIGHT_ON_MAP * WIDTH_ON_MAP / 1e9 / (time.perf_counter() - start)

"""Estimate how long a comparison will take."""

import time
from collections.abc import Sequence

import torch
from mmdet.models import ResNet
from torch.utils.flop_counter import FlopCounterMode

from .counts import FLOPS_PER_GMAC
from .rows import Row
from .subjects import SUBJECTS
from .timing import wait_for
from .workload import Rounds

# Time of a training step relative to inference: a forward pass and two gradients of similar cost.
TRAINING_FACTOR = 2.5
# Seconds to start a process with torch and mmdet.
START_SECONDS = 10
# Height and width of the image that the speed is measured with, a quarter of the usual area.
IMAGE_SIZE = (400, 672)


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
        f'speed of ResNet-50 here ({speed:.0f} GMAC/s). Ctrl-C ends with what was measured.'
    )


def measure_speed(device: torch.device) -> float:
    """Measure the speed of the machine in 1e9 multiply-adds per second, on ResNet-50."""
    backbone = ResNet(depth=50).to(device)
    backbone.eval()
    image = torch.ones(1, 3, *IMAGE_SIZE, device=device)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            backbone(image)
        wait_for(device)
        start = time.perf_counter()
        backbone(image)
        wait_for(device)
    return counter.get_total_flops() / FLOPS_PER_GMAC / (time.perf_counter() - start)

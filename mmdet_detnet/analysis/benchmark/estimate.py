"""How long a comparison will take, told before it starts."""

import time
from collections.abc import Sequence

import torch
from torch import nn

from .rows import Row
from .subjects import SUBJECTS
from .timing import wait_for
from .workload import Rounds

# A training step's time over inference's: the forward pass, and about as much for each gradient.
TRAINING_FACTOR = 2.5
# To start a process with torch and mmdet in it.
START_SECONDS = 10
# A bottleneck of ResNet-50's first stage at the resolution of an image of 800x1333.
CHANNELS, WIDTH, HEIGHT_ON_MAP, WIDTH_ON_MAP = 256, 64, 200, 336


def estimate_seconds(rows: Sequence[Row], rounds: Rounds, gmacs_per_second: float) -> float:
    """Estimate the time from multiply-adds: right within a factor of two or so.

    Args:
        rows: As counted; a row without multiply-adds, because it failed, takes no time.
        rounds: How often each action runs.
        gmacs_per_second: As of :func:`measure_speed`.

    Returns:
        Seconds for all rows.
    """
    seconds = 0.0
    for row in rows:
        actions = rounds.actions(SUBJECTS[row.entry.kind].actions)
        training = actions.pop('train', 0)
        # One more of each for the memory, and inference for the scores.
        inferences = 1 + sum(actions.values()) + rounds.memory
        steps = training + (training > 0) * rounds.memory
        runs = inferences + TRAINING_FACTOR * steps
        gmacs = sum(row.gmacs.values()) * row.workload.batch
        seconds += runs * gmacs / gmacs_per_second + START_SECONDS * rounds.memory
    return seconds


def format_estimate(rows: Sequence[Row], rounds: Rounds, device: torch.device) -> str:
    """Say how long rows will take on this machine.

    Args:
        rows: Of all comparisons that are to be measured.
        rounds: How often each action runs.
        device: Where they run.

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
    """Time a block of ResNet-50 as a measure of the machine, in units of 1e9 multiply-adds."""
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

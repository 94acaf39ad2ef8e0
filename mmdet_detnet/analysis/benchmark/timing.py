"""Times of several actions, taken in turn, and their ratios round by round."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass
class Ratio:
    """How two series of times compare.

    Attributes:
        median: Median of the ratios of the rounds.
        low: Their lower quartile.
        high: Their upper quartile.
    """

    median: float
    low: float
    high: float


def time_in_turn(
    actions: Sequence[Callable[[], object]],
    rounds: int,
    warm_up: int,
    device: torch.device,
    progress: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Run A B A B ..., so that a machine that slows down or speeds up does so for all.

    Args:
        actions: What to time.
        rounds: How often each action is timed.
        warm_up: How often each action runs before, untimed.
        device: Where the actions run; a GPU is waited for before and after each.
        progress: Called after every action.

    Returns:
        The seconds of each round, for every action.
    """
    seconds = [[] for _ in actions]
    for index in range(warm_up + rounds):
        for action, times in zip(actions, seconds, strict=True):
            elapsed = _seconds(action, device)
            if index >= warm_up:
                times.append(elapsed)
            progress()
    return seconds


def ratio(seconds: list[float], reference: list[float]) -> Ratio:
    """Divide the times of each round.

    Args:
        seconds: Times of one action, in rounds.
        reference: Times of the action it is compared with, in the same rounds.

    Returns:
        Median and quartiles of the ratios.
    """
    ratios = [ours / stock for ours, stock in zip(seconds, reference, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return Ratio(median, low, high)


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    _wait_for(device)
    start = time.perf_counter()
    action()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)

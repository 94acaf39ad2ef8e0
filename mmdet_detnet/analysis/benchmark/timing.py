"""Times of several actions, taken in turn."""

import time
from collections.abc import Callable, Sequence

import torch

Action = Callable[[], object]


def time_in_turn(
    actions: Sequence[Action],
    rounds: int,
    warm_up: int,
    device: torch.device,
    progress: Callable[[], object] = lambda: None,
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
    seconds: list[list[float]] = [[] for _ in actions]
    for index in range(warm_up + rounds):
        for action, times in zip(actions, seconds, strict=True):
            elapsed = _seconds(action, device)
            if index >= warm_up:
                times.append(elapsed)
            progress()
    return seconds


def _seconds(action: Action, device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)

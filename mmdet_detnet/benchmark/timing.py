"""Time several actions in turn."""

import time
from collections.abc import Callable, Iterator, Sequence

import torch

Action = Callable[[], object]


def time_in_turn(
    actions: Sequence[Action],
    rounds: int,
    warm_up: int,
    device: torch.device,
    after_action: Callable[[int, int, float], object] = lambda *_: None,
    budget: float | None = None,
) -> Iterator[list[float]]:
    """Run A B A B ..., so that changes in the machine's speed affect all actions.

    Args:
        actions: Functions to time.
        rounds: Number of timed runs of each action.
        warm_up: Number of untimed runs of each action before.
        device: Device of the actions; a GPU is synchronized before and after each.
        after_action: Called after every action with its index, the number of the round (from 1;
            a warm-up has 0 or less) and the seconds.
        budget: Seconds, including warm-up, after which no second or later timed round starts.

    Yields:
        The seconds of all actions, after each timed round.
    """
    end = time.perf_counter() + budget if budget else float('inf')
    for number in range(1 - warm_up, rounds + 1):
        if number > 1 and time.perf_counter() > end:
            return
        seconds = []
        for index, action in enumerate(actions):
            seconds.append(_seconds(action, device))
            after_action(index, number, seconds[-1])
        if number > 0:
            yield seconds


def _seconds(action: Action, device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)

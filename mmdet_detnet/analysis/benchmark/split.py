"""Where the time of inference goes, part by part.

The methods of the detector that begin and end a part are wrapped, and a clock runs for one part at
a time: while ``rpn_head.predict`` calls ``rpn_head.predict_by_feat``, the time is that of the
latter's part. So the parts do not overlap, and with what is left over they sum to the total. A GPU
is waited for at every change of part; the split is therefore taken in rounds of its own, whose
total can exceed that of the undisturbed ones.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

from .building import dense_heads, module_list
from .timing import wait_for

BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE = 'backbone + neck', 'dense head', 'RoI head', 'decode + NMS'
# Building the result objects, and whatever a detector does outside the four.
REST = 'rest'
PARTS = (BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE, REST)


class PartClock:
    """A clock that always runs for exactly one part.

    Args:
        device: A GPU is waited for before the clock is read.
        now: Gives the time in seconds.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.device = device
        self.now = now
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._running = [REST]
        self._since = 0.0

    def start(self) -> None:
        """Begin, with the part :data:`REST`."""
        self._since = self._time()

    def stop(self) -> None:
        """Book the time since the last change."""
        since, self._since = self._since, self._time()
        self.seconds[self._running[-1]] += self._since - since

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run for another of :data:`PARTS`, then for the former one again."""
        self.stop()
        self._running.append(name)
        try:
            yield
        finally:
            self.stop()
            self._running.pop()

    def _time(self) -> float:
        wait_for(self.device)
        return self.now()


def time_parts(
    network: nn.Module, action: Callable[[], object], device: torch.device
) -> dict[str, float]:
    """Run the inference of a detector or a RoI head; return the seconds of :data:`PARTS`."""
    clock = PartClock(device)
    with ExitStack() as stack:
        for owner, method, part in _boundaries(network):
            stack.enter_context(_wrapped(owner, method, clock, part))
        clock.start()
        action()
        clock.stop()
    return clock.seconds


def _boundaries(network: nn.Module) -> list[tuple[nn.Module, str, str]]:
    """List the modules whose methods begin and end a part: (owner, method, part)."""
    if not hasattr(network, 'extract_feat'):
        return _roi_boundaries(network)
    found = [(network, 'extract_feat', BACKBONE)]
    for head in dense_heads(network):
        found += [(head, 'predict', DENSE_HEAD), (head, 'predict_by_feat', DECODE)]
    return found + (_roi_boundaries(network.roi_head) if hasattr(network, 'roi_head') else [])


def _roi_boundaries(roi_head: nn.Module) -> list[tuple[nn.Module, str, str]]:
    heads = [
        head
        for name in ('bbox_head', 'mask_head')
        for head in module_list(getattr(roi_head, name, None))
    ]
    decoding = [(head, 'predict_by_feat', DECODE) for head in heads]
    return [(roi_head, 'predict', ROI_HEAD), *decoding]


@contextmanager
def _wrapped(owner: nn.Module, method: str, clock: PartClock, part: str) -> Iterator[None]:
    """Put a method of an object on the clock for a while."""
    original, had_own = getattr(owner, method), method in vars(owner)

    @wraps(original)
    def on_the_clock(*args: Any, **kwargs: Any) -> Any:
        with clock.part(part):
            return original(*args, **kwargs)

    setattr(owner, method, on_the_clock)
    try:
        yield
    finally:
        delattr(owner, method)
        if had_own:
            setattr(owner, method, original)

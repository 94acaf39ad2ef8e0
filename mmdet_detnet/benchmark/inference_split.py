"""Split the time of inference by part.

The methods that start and end a part are wrapped, and a clock runs for one part at a time: while
``rpn_head.predict`` calls ``rpn_head.predict_by_feat``, the time counts for the latter's part. The
parts therefore do not overlap, and with the rest they sum to the total. A GPU is synchronized at
every change of part, so the split is measured in separate rounds, whose total can be higher.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE = 'backbone + neck', 'dense head', 'RoI head', 'decode + NMS'
# Building the result objects, and anything else outside the four parts.
REST = 'rest'
PARTS = (BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE, REST)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def module_list(modules: nn.Module | None) -> list[nn.Module]:
    """List the modules of an attribute, which is a list in a cascade."""
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def dense_heads(detector: nn.Module) -> list[nn.Module]:
    """List the heads that run on whole feature maps: RPN, or a one-stage detector's box head."""
    heads = (getattr(detector, name, None) for name in ('rpn_head', 'bbox_head'))
    return [head for head in heads if isinstance(head, nn.Module)]


class PartClock:
    """A clock that runs for exactly one part at a time.

    Args:
        device: Device to synchronize before the clock is read.
        now: Returns the time in seconds.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self.device = device
        self.now = now
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._running = [REST]
        self._since = 0.0

    def start(self) -> None:
        """Start with the part :data:`REST`."""
        self._since = self._time()

    def stop(self) -> None:
        """Add the time since the last change."""
        since, self._since = self._since, self._time()
        self.seconds[self._running[-1]] += self._since - since

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Switch to another of :data:`PARTS`, and back afterwards."""
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
    """List the methods that start and end a part: (owner, method, part)."""
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
    """Temporarily time a method of an object."""
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

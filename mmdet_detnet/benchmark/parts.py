"""The parts of a detector: their multiply-adds, counted from shapes, and their times in inference.

To time them, the methods that start and end a part are wrapped, and a clock runs for one part at a
time: while ``rpn_head.predict`` calls ``rpn_head.predict_by_feat``, the time counts for the
latter's part. The parts therefore do not overlap, and with the rest they sum to the total. A GPU is
synchronized at every change of part, so the split is measured in separate rounds, whose total can
be higher.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE = 'backbone + neck', 'dense head', 'RoI head', 'decode + NMS'
# Building the result objects, and anything else outside the four parts.
REST = 'rest'
PARTS = (BACKBONE, DENSE_HEAD, ROI_HEAD, DECODE, REST)
# As in MMDetection's Faster R-CNN and Mask R-CNN at test time.
NUM_PROPOSALS, NUM_MASKS = 1000, 100
DIVISOR = 32
FLOPS_PER_GMAC = 2e9
META = torch.device('meta')


def list_modules(modules: nn.Module | None) -> list[nn.Module]:
    """List the modules of an attribute, which is a list in a cascade."""
    if modules is None:
        return []
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def _dense_heads(detector: nn.Module) -> list[nn.Module]:
    """List the heads that run on whole feature maps: RPN, or a one-stage detector's box head."""
    heads = (getattr(detector, name, None) for name in ('rpn_head', 'bbox_head'))
    return [head for head in heads if isinstance(head, nn.Module)]


def count_gmacs(
    detector: nn.Module, height: int, width: int, kind: str = 'detector'
) -> dict[str, float]:
    """Count the multiply-adds of convolutions and matrix products for one image.

    RoI heads are counted for 1000 proposals that pass through the whole head, and for 100 masks;
    shapes do not tell what a head skips.

    The detector is on the meta device, with shapes but no memory. Height and width, in pixels, are
    padded to a multiple of 32; ``kind`` is as of :class:`.Entry`. Returns each part's, in 1e9.
    """
    if kind == 'roi_head':
        return {ROI_HEAD: _count_roi_head(detector.roi_head)}
    padded = [-(-size // DIVISOR) * DIVISOR for size in (height, width)]
    image = torch.empty(1, 3, *padded, device=META)
    if kind == 'backbone':
        return {'backbone': _count(lambda: detector.backbone(image))}
    features: list[torch.Tensor] = []
    gmacs = {BACKBONE: _count(lambda: features.extend(detector.extract_feat(image)))}
    for head in _dense_heads(detector):
        gmacs[DENSE_HEAD] = _count(partial(head, tuple(features)))
    if hasattr(detector, 'roi_head'):
        gmacs[ROI_HEAD] = _count_roi_head(detector.roi_head)
    return gmacs


def _count_roi_head(roi_head: nn.Module) -> float:
    """Count all stages of a cascade."""
    total = 0.0
    for name, number in (('bbox', NUM_PROPOSALS), ('mask', NUM_MASKS)):
        heads = list_modules(getattr(roi_head, f'{name}_head', None))
        extractors = list_modules(getattr(roi_head, f'{name}_roi_extractor', None))
        for head, extractor in zip(heads, extractors, strict=False):
            size = extractor.roi_layers[0].output_size
            regions = torch.empty(number, extractor.out_channels, *size, device=META)
            # Double-Head pools twice.
            parameters = inspect.signature(head.forward).parameters.values()
            inputs = [regions for each in parameters if each.default is inspect.Parameter.empty]
            total += _count(partial(head, *inputs))
    return total


def _count(action: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / FLOPS_PER_GMAC


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class PartClock:
    """A clock that runs for exactly one of :data:`PARTS` at a time; first for the rest.

    ``device`` is synchronized before the clock is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._running = [REST]
        self._since = self._time()

    def stop(self) -> None:
        """Add the time since the last change."""
        since, self._since = self._since, self._time()
        self.seconds[self._running[-1]] += self._since - since

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Switch to another part, and back afterwards."""
        self.stop()
        self._running.append(name)
        try:
            yield
        finally:
            self.stop()
            self._running.pop()

    def _time(self) -> float:
        wait_for(self.device)
        return time.perf_counter()


def time_parts(
    network: nn.Module, action: Callable[[], object], device: torch.device
) -> dict[str, float]:
    """Run the inference of a detector or a RoI head; return the seconds of :data:`PARTS`."""
    with ExitStack() as stack:
        clock = PartClock(device)
        for owner, name, part in _list_boundaries(network):
            if method := getattr(owner, name, None):
                timed = _put_on_clock(method, clock, part)
                stack.enter_context(patch.object(owner, name, timed))
        action()
        clock.stop()
    return clock.seconds


def _list_boundaries(network: nn.Module) -> list[tuple[nn.Module, str, str]]:
    """List the methods that start and end a part: (owner, method, part)."""
    found = []
    is_detector = hasattr(network, 'extract_feat')
    if is_detector:
        found.append((network, 'extract_feat', BACKBONE))
        for head in _dense_heads(network):
            found += [(head, 'predict', DENSE_HEAD), (head, 'predict_by_feat', DECODE)]
    roi_head = getattr(network, 'roi_head', None) if is_detector else network
    if roi_head is not None:
        found.append((roi_head, 'predict', ROI_HEAD))
        for name in ('bbox_head', 'mask_head'):
            heads = list_modules(getattr(roi_head, name, None))
            found += [(head, 'predict_by_feat', DECODE) for head in heads]
    return found


def _put_on_clock(method: Callable, clock: PartClock, part: str) -> Callable:
    @wraps(method)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with clock.part(part):
            return method(*args, **kwargs)

    return timed

"""Compilation at the start of a run, but not during it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

# The first that can be told not to compile again. The hooks of optimizers, such as that of
# FiniteCheckHook, are no longer called once torch 2.1 has compiled anything.
OLDEST_TORCH = '2.6'
# Code compiled for a map of one pixel fits no other size. An image of 64 pixels has two at stride
# 32, and a map of three has two at stride 2, by which necks add a level.
MIN_IMAGE_SIDE, MIN_MAP_SIDE = 64, 3
IMAGE_CHANNELS = 3


class CompiledForward:
    """A forward that is compiled at most twice: for batches of one and of several images.

    Each is compiled on first use, for all image sizes. If torch would compile again, which takes as
    long as hundreds of images, the forward runs uncompiled: for maps of few pixels, or if the code
    for several images does not fit a larger batch.

    Args:
        forward: Takes feature maps ``(N, C, H, W)``, single or in lists.
        backend: As for ``torch.compile``.
    """

    def __init__(self, forward: Callable, backend: str = 'inductor') -> None:
        self.forward = forward
        self._compiled = torch.compile(forward, dynamic=True, backend=backend)
        self._has_compiled: set[bool] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run compiled or uncompiled; arguments and result are those of the forward."""
        maps = list(_find_maps([args, kwargs]))
        if any(min(feature_map.shape[2:]) < _min_side(feature_map) for feature_map in maps):
            return self.forward(*args, **kwargs)
        several = any(len(feature_map) > 1 for feature_map in maps)
        guard = _no_compilation() if several in self._has_compiled else _sides_apart()
        with guard:
            outputs = self._compiled(*args, **kwargs)
        self._has_compiled.add(several)
        return outputs


def _find_maps(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield from [value] if value.dim() == 4 else []
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find_maps(item)


def _min_side(feature_map: Tensor) -> int:
    return MIN_IMAGE_SIDE if feature_map.shape[1] == IMAGE_CHANNELS else MIN_MAP_SIDE


def _no_compilation() -> AbstractContextManager:
    """Stop torch from compiling again."""
    return torch.compiler.set_stance('eager_on_recompile')


@contextmanager
def _sides_apart() -> Iterator[None]:
    """Make height and width separate symbols if the first image is square."""
    from torch.fx.experimental import _config as symbols  # torch 2.1 has none

    before, symbols.use_duck_shape = symbols.use_duck_shape, False
    try:
        yield
    finally:
        symbols.use_duck_shape = before

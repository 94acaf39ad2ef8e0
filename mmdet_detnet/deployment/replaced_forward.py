"""What runs instead of the ``forward`` of a module in an accelerated detector.

The object is set as an attribute of the module, so that the module's class, children and names of
weights do not change. A copy of the module gets its own copy.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import MethodType
from typing import Any, TypeGuard

import torch
from mmengine.utils import apply_to
from torch import Tensor, nn

from mmdet_detnet.operators.roi_align import RoIAlignAverage
from mmdet_detnet.operators.roi_samples import RoIGrid

# The first that can be told not to compile again. The hooks of optimizers, such as that of
# FiniteCheckHook, are no longer called once torch 2.1 has compiled anything.
OLDEST_TORCH = '2.6'
# Code compiled for a map of one pixel fits no other size. An image of 64 pixels has two at stride
# 32, and a map of three has two at stride 2, by which necks add a level.
MIN_IMAGE_SIDE, MIN_MAP_SIDE = 64, 3
IMAGE_CHANNELS = 3


@dataclass(eq=False)
class ReplacedForward:
    """Base class, for a module."""

    module: nn.Module

    @property
    def original(self) -> Callable:
        """The forward of the module's class."""
        return MethodType(type(self.module).forward, self.module)


def restore_forward(module: nn.Module) -> None:
    """Restore the forward of a module if it was replaced."""
    if isinstance(vars(module).get('forward'), ReplacedForward):
        del module.forward


@dataclass(eq=False)
class PartForward(ReplacedForward):
    """The forward of a backbone, a neck or a head."""

    channels_last: bool  # whether inputs are converted to this layout
    compile: bool  # whether inference runs compiled
    dtype: torch.dtype | None  # precision of inference; float32 if None
    train_dtype: torch.dtype | None  # of training; None for that of the surrounding code
    low_outputs: bool  # whether outputs may stay in low precision instead of float32
    compiled: 'CompiledForward | None' = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the part; arguments and result are those of its own forward."""
        if self.channels_last:
            args = apply_to(args, _is_map, _to_channels_last)
        if not _records_gradients(self.module):
            outputs = self._infer(*args, **kwargs)
        elif self.module.training and self.train_dtype is not None:
            with torch.autocast(self._device_type, self.train_dtype):
                outputs = self.original(*args, **kwargs)
        else:
            return self.original(*args, **kwargs)
        return outputs if self.low_outputs else apply_to(outputs, _is_low, Tensor.float)

    @property
    def _device_type(self) -> str:
        return next(self.module.parameters()).device.type

    def _infer(self, *args: Any, **kwargs: Any) -> Any:
        """Run in the fastest way that works; a way that failed is not tried again."""
        ways = [(self.compile, self.dtype), (False, self.dtype), (False, None)]
        failures = []
        for compile, dtype in dict.fromkeys(ways):
            try:
                outputs = self._run(compile, dtype, *args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                failures.append(error)
                continue
            if failures:
                self._settle(compile, dtype, failures[0])
            return outputs
        # The original forward rejects these arguments, too.
        raise failures[-1]

    def _run(self, compile: bool, dtype: torch.dtype | None, *args: Any, **kwargs: Any) -> Any:
        if dtype is None:
            return self._forward(compile)(*apply_to(args, _is_low, Tensor.float), **kwargs)
        with torch.autocast(self._device_type, dtype):
            return self._forward(compile)(*args, **kwargs)

    def _forward(self, compile: bool) -> Callable:
        if not compile:
            return self.original
        self.compiled = self.compiled or CompiledForward(self.original)
        return self.compiled

    def _settle(self, compile: bool, dtype: torch.dtype | None, error: Exception) -> None:
        """Continue without the option that failed."""
        lost = 'torch.compile' if self.compile and not compile else ''
        if self.dtype != dtype:
            lost = ' and '.join(filter(None, [lost, str(self.dtype)]))
        self.compile, self.dtype, self.compiled = compile, dtype, self.compiled if compile else None
        reason = str(error).strip().split('\n')[0]
        _warn_once(
            f'accelerate: parts of the detector run without {lost}, which failed: '
            f'{type(error).__name__}: {reason}'
        )

    def __getstate__(self) -> dict:
        """Drop the compiled code, which uses the weights of the original module."""
        return {**vars(self), 'compiled': None}


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
        has_compiled = several in self._has_compiled
        with torch.compiler.set_stance('eager_on_recompile') if has_compiled else _sides_apart():
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


@contextmanager
def _sides_apart() -> Iterator[None]:
    """Make height and width separate symbols if the first image is square."""
    from torch.fx.experimental import _config as symbols  # torch 2.1 has none

    before, symbols.use_duck_shape = symbols.use_duck_shape, False
    try:
        yield
    finally:
        symbols.use_duck_shape = before


class ContiguousForward(ReplacedForward):
    """The forward of an mmcv operator, which assumes inputs stored as (N, C, H, W).

    These operators neither check nor convert the layout: with channels_last they return wrong
    results. They have no bfloat16 kernels either.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on contiguous tensors, in at least float32; the result has the first one's type."""
        first = next(filter(_is_tensor, (*args, *kwargs.values())))
        args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        args, kwargs = apply_to((args, kwargs), _is_tensor, Tensor.contiguous)
        with torch.autocast(first.device.type, enabled=False):
            outputs = self.original(*args, **kwargs)
        return apply_to(outputs, _is_tensor, lambda each: each.to(first.dtype))


class RoIAlignForward(ContiguousForward):
    """The forward of mmcv's RoIAlign, which on the CPU is ours: it sums rows of channels.

    mmcv's compiled kernel reads one channel after the other on one thread. Sums and gradients are
    the same, in another order.
    """

    def __call__(self, feature_map: Tensor, rois: Tensor) -> Tensor:
        """Pool RoIs ``(num_rois, 5)`` from ``(N, C, H, W)``, computed in at least float32."""
        layer = self.module
        if feature_map.device.type != 'cpu' or layer.pool_mode != 'avg':
            return super().__call__(feature_map, rois)
        grid = RoIGrid(layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        return RoIAlignAverage.apply(feature_map, rois, grid).to(feature_map.dtype)


@dataclass(eq=False)
class PlainForward(ReplacedForward):
    """The forward of a head that is not accelerated, between parts that are."""

    train_dtype: torch.dtype | None  # precision of the parts in training

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head on contiguous maps, of float32 where the parts may give less."""
        args, kwargs = apply_to((args, kwargs), _is_map, Tensor.contiguous)
        if self.train_dtype is not None or not _records_gradients(self.module):
            args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        return self.original(*args, **kwargs)


@cache
def _warn_once(text: str) -> None:
    """Warn once; Python's filters are not enough, because torch resets them."""
    warnings.warn(text, stacklevel=4)


def _records_gradients(module: nn.Module) -> bool:
    return module.training or torch.is_grad_enabled()


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor)


def _is_low(value: object) -> bool:
    return _is_tensor(value) and value.dtype in (torch.bfloat16, torch.float16)


def _is_map(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 4


def _to_channels_last(feature_map: Tensor) -> Tensor:
    return feature_map.contiguous(memory_format=torch.channels_last)

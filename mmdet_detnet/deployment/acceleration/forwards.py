"""Replacements for the ``forward`` of a module."""

import warnings
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any, TypeGuard

import torch
from mmengine.utils import apply_to
from torch import Tensor, nn

from .compilation import CompiledForward


class ReplacedForward:
    """Base of the objects that replace a module's ``forward``.

    It is set as an attribute of the module, so the module's class, children and weight names do not
    change. A copy of the module gets its own copy.

    Args:
        module: The module whose forward is replaced.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def original(self) -> Callable:
        """The forward of the module's class."""
        return MethodType(type(self.module).forward, self.module)


def restore_forward(module: nn.Module) -> None:
    """Restore the forward of a module if it was replaced.

    Args:
        module: Any module.
    """
    if isinstance(vars(module).get('forward'), ReplacedForward):
        del module.forward


class PartForward(ReplacedForward):
    """The forward of a backbone, a neck or a head.

    Args:
        module: The part.
        channels_last: Whether inputs are converted to this layout.
        compile: Whether inference runs compiled.
        dtype: Precision of inference; float32 if None.
        low_outputs: Whether outputs may stay in this precision instead of float32.
    """

    def __init__(
        self,
        module: nn.Module,
        channels_last: bool,
        compile: bool,
        dtype: torch.dtype | None,
        low_outputs: bool,
    ) -> None:
        super().__init__(module)
        self.channels_last = channels_last
        self.compile = compile
        self.dtype = dtype
        self.low_outputs = low_outputs
        self.compiled: CompiledForward | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the part; arguments and result are those of its own forward."""
        if self.channels_last:
            args = apply_to(args, _is_map, _to_channels_last)
        if records_gradients(self.module):
            return self.original(*args, **kwargs)
        outputs = self._infer(*args, **kwargs)
        return outputs if self.low_outputs else apply_to(outputs, _is_low, Tensor.float)

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
        with torch.autocast(next(self.module.parameters()).device.type, dtype):
            return self._forward(compile)(*args, **kwargs)

    def _forward(self, compile: bool) -> Callable:
        if not compile:
            return self.original
        if self.compiled is None:
            self.compiled = CompiledForward(self.original)
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


class ContiguousForward(ReplacedForward):
    """The forward of an mmcv operator, which assumes inputs stored as (N, C, H, W).

    These operators neither check nor convert the layout: with channels_last they return wrong
    results. They have no bfloat16 kernels either.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the operator on contiguous tensors, in float32 instead of low precision.

        The result has the type of the first tensor.
        """
        first = next(filter(_is_tensor, (*args, *kwargs.values())))
        args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        args, kwargs = apply_to((args, kwargs), _is_tensor, Tensor.contiguous)
        with torch.autocast(first.device.type, enabled=False):
            outputs = self.original(*args, **kwargs)
        return apply_to(outputs, _is_tensor, lambda each: each.to(first.dtype))


class PlainForward(ReplacedForward):
    """The forward of a head that is not accelerated, between parts that are.

    Its inputs are as in MMDetection: contiguous, and float32 at inference.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head; arguments and result are those of its own forward."""
        args, kwargs = apply_to((args, kwargs), _is_map, Tensor.contiguous)
        if not records_gradients(self.module):
            args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        return self.original(*args, **kwargs)


@cache
def _warn_once(text: str) -> None:
    """Warn once; Python's filters are not enough, because torch resets them."""
    warnings.warn(text, stacklevel=4)


def records_gradients(module: nn.Module) -> bool:
    """Tell whether a module is in training mode or gradients are recorded."""
    return module.training or torch.is_grad_enabled()


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor)


def _is_low(value: object) -> bool:
    return _is_tensor(value) and value.dtype in (torch.bfloat16, torch.float16)


def _is_map(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 4


def _to_channels_last(feature_map: Tensor) -> Tensor:
    return feature_map.contiguous(memory_format=torch.channels_last)

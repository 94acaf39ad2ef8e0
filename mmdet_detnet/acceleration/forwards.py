"""What stands in for the ``forward`` of a module that was made faster."""

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
    """Base of the objects that stand in for a module's ``forward``.

    The module gets it as an attribute of its own, so its class, its children and the names of its
    weights stay. A copy of the module gets a copy that belongs to it.

    Args:
        module: Whose forward it replaces.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def original(self) -> Callable:
        """The forward of the module's class."""
        return MethodType(type(self.module).forward, self.module)


def replace_forward(module: nn.Module, forward: ReplacedForward) -> None:
    """Let a module run another forward.

    Args:
        module: Any module.
        forward: What it runs.
    """
    module.forward = forward


def restore_forward(module: nn.Module) -> None:
    """Give a module its own forward back, if another was put in its place.

    Args:
        module: Any module.
    """
    if isinstance(vars(module).get('forward'), ReplacedForward):
        del module.forward


class PartForward(ReplacedForward):
    """The forward of a backbone, a neck or a head.

    Args:
        module: The part.
        channels_last: Whether the maps that come in are brought into this layout.
        compile: Whether inference runs compiled.
        dtype: Precision of inference; float32 if None.
        low_outputs: Whether the outputs may stay in this precision, or become float32.
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
        """Run the part; the arguments and the result are those of its own forward."""
        if self.channels_last:
            args = apply_to(args, _is_map, _to_channels_last)
        if records_gradients(self.module):
            return self.original(*args, **kwargs)
        outputs = self._infer(*args, **kwargs)
        return outputs if self.low_outputs else apply_to(outputs, _is_low, Tensor.float)

    def _infer(self, *args: Any, **kwargs: Any) -> Any:
        """Run as fast as the part lets itself be run; a way that failed is not tried again."""
        ways = [(self.compile, self.dtype), (False, self.dtype), (False, None)]
        failures = []
        for compile, dtype in dict.fromkeys(ways):
            try:
                outputs = self._run(compile, dtype, *args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                failures.append(error)
                continue
            if failures:
                self._settle(compile, dtype, failures[0])
            return outputs
        # Not even the part as MMDetection runs it takes these arguments.
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
        """Go on without what failed."""
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
        """Leave out the compiled code, which would run the weights of the module it was made of."""
        return {**vars(self), 'compiled': None}


class ContiguousForward(ReplacedForward):
    """The forward of one of mmcv's operators, which read their inputs' memory as (N, C, H, W).

    They neither check the layout nor convert it: in channels_last they return wrong numbers. They
    have no kernels for bfloat16 either.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the operator on contiguous tensors, those in low precision in float32."""
        args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        args, kwargs = apply_to((args, kwargs), _is_tensor, Tensor.contiguous)
        device = next(filter(_is_tensor, (*args, *kwargs.values()))).device
        with torch.autocast(device.type, enabled=False):
            return self.original(*args, **kwargs)


class PlainForward(ReplacedForward):
    """The forward of a head that is left as it is, between parts that were made faster.

    Its maps come in as MMDetection would bring them: contiguous, and in float32 at inference.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head; the arguments and the result are those of its own forward."""
        args, kwargs = apply_to((args, kwargs), _is_map, Tensor.contiguous)
        if not records_gradients(self.module):
            args, kwargs = apply_to((args, kwargs), _is_low, Tensor.float)
        return self.original(*args, **kwargs)


@cache
def _warn_once(text: str) -> None:
    """Warn; filters of Python do not suffice, since torch resets what they have seen."""
    warnings.warn(text, stacklevel=4)


def records_gradients(module: nn.Module) -> bool:
    """Tell whether a module trains, or runs where gradients are recorded."""
    return module.training or torch.is_grad_enabled()


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor)


def _is_low(value: object) -> bool:
    return _is_tensor(value) and value.dtype in (torch.bfloat16, torch.float16)


def _is_map(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 4


def _to_channels_last(feature_map: Tensor) -> Tensor:
    return feature_map.contiguous(memory_format=torch.channels_last)

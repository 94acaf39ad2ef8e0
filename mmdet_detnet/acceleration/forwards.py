"""What stands in for the ``forward`` of a module that was made faster."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import MethodType
from typing import Any

import torch
from mmengine.utils import apply_to
from torch import Tensor, nn


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
        self.compiled = None

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Run the part; the arguments and the result are those of its own forward."""
        if self.channels_last:
            args = apply_to(args, _is_map, _to_channels_last)
        if self.module.training or torch.is_grad_enabled():
            return self.original(*args, **kwargs)
        with self._autocast():
            outputs = self._inference_forward()(*args, **kwargs)
        return outputs if self.low_outputs else apply_to(outputs, _is_low, Tensor.float)

    def _inference_forward(self) -> Callable:
        if not self.compile:
            return self.original
        if self.compiled is None:
            self.compiled = torch.compile(self.original, dynamic=True)
        return self.compiled

    def _autocast(self) -> AbstractContextManager:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(next(self.module.parameters()).device.type, self.dtype)

    def __getstate__(self) -> dict:
        """Leave out the compiled code, which would run the weights of the module it was made of."""
        return {**vars(self), 'compiled': None}


class ContiguousForward(ReplacedForward):
    """The forward of one of mmcv's operators, which read their inputs' memory as (N, C, H, W).

    They neither check the layout nor convert it: in channels_last they return wrong numbers. They
    have no kernels for bfloat16 either.
    """

    def __call__(self, *args: Any) -> object:
        """Run the operator on contiguous tensors, those in low precision in float32."""
        args = apply_to(args, _is_low, Tensor.float)
        args = apply_to(args, _is_tensor, Tensor.contiguous)
        with torch.autocast(next(filter(_is_tensor, args)).device.type, enabled=False):
            return self.original(*args)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _is_low(value: object) -> bool:
    return _is_tensor(value) and value.dtype in (torch.bfloat16, torch.float16)


def _is_map(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 4


def _to_channels_last(feature_map: Tensor) -> Tensor:
    return feature_map.contiguous(memory_format=torch.channels_last)

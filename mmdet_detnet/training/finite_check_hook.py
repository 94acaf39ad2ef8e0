"""The hook that stops training at NaN or infinite values."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.optim import Optimizer

from mmdet_detnet.arguments import reject
from mmdet_detnet.registry import HOOKS

from .host_copies import HostCopies

GRADIENT_NORM = 'gradient norm'


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Check losses and gradient in every iteration, and weights before they are saved.

    On a GPU, values are checked up to ``max_lag`` iterations later, so that it never waits for the
    host. All ranks share the averaged gradient and detect non-finite values in the same iteration.

    Args:
        max_lag: Number of iterations that a GPU may run ahead of the check; 0 checks immediately.

    Raises:
        ValueError: If ``max_lag`` is not allowed.
    """

    def __init__(self, max_lag: int = 5) -> None:
        if not isinstance(max_lag, int) or max_lag < 0:
            reject(self, 'max_lag', max_lag, 'an integer of at least 0')
        self._copies = HostCopies(max_lag)
        self._norms: list[torch.Tensor] = []
        self._earlier_norm = math.nan

    def before_train(self, runner: Runner) -> None:
        """Measure the gradient whenever an optimizer uses it from now on."""
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        for each in wrappers:
            each.optimizer.register_step_pre_hook(self._measure_gradient)

    def _measure_gradient(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for group in optimizer.param_groups:
            gradients = [weight.grad for weight in group['params'] if weight.grad is not None]
            # One call for all: a detector has hundreds of small tensors.
            self._norms += torch._foreach_norm(gradients) if gradients else []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Raise FloatingPointError if a loss or the gradient, of it or earlier, is not finite."""
        terms = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        if len(terms) > 1:
            terms.pop('loss', None)  # their sum
        if self._norms:  # empty if gradients accumulate or AMP skips a step
            terms[GRADIENT_NORM] = torch.linalg.vector_norm(torch.stack(self._norms))
            self._norms.clear()
        if not terms:
            return
        values = torch.stack([torch.as_tensor(value).float().mean() for value in terms.values()])
        self._copies.put(values, (list(terms), _describe(runner, data_batch)))
        self._check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the remaining iterations of the epoch before it is saved."""
        self._check(all=True)

    def _check(self, all: bool = False) -> None:
        for values, (names, situation) in self._copies.take(all):
            terms = dict(zip(names, values.tolist(), strict=True))
            wrong = [
                f'{name} is {value}' for name, value in terms.items() if not math.isfinite(value)
            ]
            if wrong:
                raise FloatingPointError(
                    f'{", ".join(wrong)} {situation}; gradient norm '
                    f'{terms.get(GRADIENT_NORM, math.nan):.4g}, {self._earlier_norm:.4g} in the '
                    'previous iteration. Earlier checkpoints are finite.'
                )
            self._earlier_norm = terms.get(GRADIENT_NORM, self._earlier_norm)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Raise FloatingPointError if weights to save are NaN or infinite."""
        tensors = checkpoint['state_dict']
        wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if wrong:
            raise FloatingPointError(
                f'not saved: {len(wrong)} of {len(tensors)} tensors of the model are not finite '
                f'after iteration {checkpoint["meta"]["iter"]}, the first is {wrong[0]} '
                f'({_describe_rate(runner)}). Earlier checkpoints are finite.'
            )


def _describe(runner: Runner, data_batch: dict | None) -> str:
    images = [
        str(sample.metainfo.get('img_path', sample.metainfo.get('img_id')))
        for sample in (data_batch or {}).get('data_samples', ())
    ]
    return (
        f'in iteration {runner.iter + 1} (epoch {runner.epoch + 1}, rank {runner.rank}), '
        f'{_describe_rate(runner)}, images: {", ".join(images) or "not named"}'
    )


def _describe_rate(runner: Runner) -> str:
    rates = {rate for rates in runner.optim_wrapper.get_lr().values() for rate in rates}
    return f'learning rate {max(rates):.4g}'

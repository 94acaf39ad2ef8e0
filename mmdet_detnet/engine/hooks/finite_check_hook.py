"""The hook that stops a training whose numbers are no longer finite."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.optim import Optimizer

from mmdet_detnet.engine.late_values import LateValues
from mmdet_detnet.registry import HOOKS

GRADIENT_NORM = 'gradient norm'


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Check losses and gradient of every iteration, and weights before they are saved.

    On a GPU the numbers of an iteration are looked at up to ``max_lag`` iterations later, so that
    it never waits for the host. With several ranks, the gradient is the average of all, and each
    of them sees in the same iteration that it is not finite.

    Args:
        max_lag: Iterations that a GPU may be ahead of the check; 0 waits for each.

    Raises:
        ValueError: If ``max_lag`` is negative.
    """

    def __init__(self, max_lag: int = 5) -> None:
        if max_lag < 0:
            raise ValueError(f'max_lag must be 0 or more, got {max_lag}')
        self._late = LateValues(max_lag)
        self._norms: list[torch.Tensor] = []
        self._earlier_norm = math.nan

    def before_train(self, runner: Runner) -> None:
        """Look at the gradient from now on, whenever an optimizer uses it.

        Args:
            runner: Has the optimizers.
        """
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        for each in wrappers:
            each.optimizer.register_step_pre_hook(self._measure_gradient)

    def _measure_gradient(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for group in optimizer.param_groups:
            gradients = [weight.grad for weight in group['params'] if weight.grad is not None]
            self._norms += [torch.linalg.vector_norm(gradient) for gradient in gradients]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Check the losses and the gradient, or those of an earlier iteration.

        Args:
            runner: Knows iteration and learning rate.
            batch_idx: Unused.
            data_batch: Names the images.
            outputs: Losses by their names.

        Raises:
            FloatingPointError: If one of them is infinite or not a number.
        """
        terms = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        if len(terms) > 1:
            terms.pop('loss', None)  # their sum
        if self._norms:  # none where gradients accumulate, or AMP leaves a step out
            terms[GRADIENT_NORM] = torch.linalg.vector_norm(torch.stack(self._norms))
            self._norms.clear()
        if not terms:
            return
        values = torch.stack([torch.as_tensor(value).float().mean() for value in terms.values()])
        self._late.put(values, (list(terms), _describe(runner, data_batch)))
        self._check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Check what is left of the epoch, before it is saved.

        Args:
            runner: Unused.

        Raises:
            FloatingPointError: If a number is not finite.
        """
        self._check(all=True)

    def _check(self, all: bool = False) -> None:
        for values, (names, situation) in self._late.take(all):
            terms = dict(zip(names, values.tolist(), strict=True))
            wrong = [
                f'{name} is {value}' for name, value in terms.items() if not math.isfinite(value)
            ]
            if wrong:
                raise FloatingPointError(
                    f'{", ".join(wrong)} {situation}; gradient norm '
                    f'{terms.get(GRADIENT_NORM, math.nan):.4g}, {self._earlier_norm:.4g} in the '
                    'iteration before. Checkpoints written so far are finite.'
                )
            self._earlier_norm = terms.get(GRADIENT_NORM, self._earlier_norm)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save a weight that is not finite.

        Args:
            runner: Knows the iteration.
            checkpoint: What is about to be written.

        Raises:
            FloatingPointError: If a tensor of the model has a value that is not finite.
        """
        tensors = checkpoint['state_dict']
        wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if wrong:
            raise FloatingPointError(
                f'not saved: {len(wrong)} of {len(tensors)} tensors of the model are not finite '
                f'after iteration {checkpoint["meta"]["iter"]}, the first is {wrong[0]} '
                f'({_describe_rate(runner)}). Checkpoints written so far are finite.'
            )


def _describe(runner: Runner, data_batch: dict | None) -> str:
    """Say where the training is: iteration, learning rate, images."""
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

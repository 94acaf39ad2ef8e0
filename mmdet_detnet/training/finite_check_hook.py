"""The hook that stops training at NaN or infinite values."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.optim import Optimizer

from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Check losses and gradient in every iteration, and weights before they are saved.

    All ranks share the averaged gradient and detect non-finite values in the same iteration. A GPU
    does not wait for the check: mmengine has just read the losses for its log.
    """

    def before_train(self, runner: Runner) -> None:
        """Measure the gradient whenever an optimizer uses it from now on."""
        self._norms: list[torch.Tensor] = []
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
        """Raise FloatingPointError if a loss or the gradient is not finite."""
        terms = {
            name: torch.as_tensor(value).item()
            for name, value in (outputs or {}).items()
            if 'loss' in name
        }
        if len(terms) > 1:
            terms.pop('loss', None)  # their sum
        norm = math.nan
        if self._norms:  # empty if gradients accumulate or AMP skips a step
            norm = terms['gradient norm'] = math.hypot(*torch.stack(self._norms).tolist())
            self._norms.clear()
        wrong = [f'{name} is {value}' for name, value in terms.items() if not math.isfinite(value)]
        if wrong:
            images = [
                str(sample.metainfo.get('img_path', sample.metainfo.get('img_id')))
                for sample in (data_batch or {}).get('data_samples', ())
            ]
            raise FloatingPointError(
                f'{", ".join(wrong)} in iteration {runner.iter + 1} (epoch {runner.epoch + 1}, '
                f'rank {runner.rank}), learning rate {_find_rate(runner):.4g}, gradient norm '
                f'{norm:.4g}, images: {", ".join(images) or "unnamed"}. Earlier checkpoints are '
                'finite.'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Raise FloatingPointError if weights to save are NaN or infinite."""
        tensors = checkpoint['state_dict']
        wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if wrong:
            raise FloatingPointError(
                f'not saved: {len(wrong)} of {len(tensors)} tensors of the model are not finite '
                f'after iteration {checkpoint["meta"]["iter"]}, the first is {wrong[0]} (learning '
                f'rate {_find_rate(runner):.4g}). Earlier checkpoints are finite.'
            )


def _find_rate(runner: Runner) -> float:
    return max(rate for rates in runner.optim_wrapper.get_lr().values() for rate in rates)

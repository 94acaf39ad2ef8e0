"""The hook that stops a run whose config, model, data and weights do not match."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.hooks import RemovableHandle

from mmdet_detnet.checkpoints import keep_own_files
from mmdet_detnet.config import raise_problems
from mmdet_detnet.deployment.acceleration import unwrap_model
from mmdet_detnet.host import describe_operators
from mmdet_detnet.registry import HOOKS

from . import checks
from .resuming import checkpoint_folder

MISMATCH = 'The checkpoint is not one of this config: it'


@HOOKS.register_module()
class ConfigCheckHook(Hook):
    """Stop before the first iteration if training would go wrong or fail without a message.

    It checks the config and the built model before weights are loaded, batch norm and what the run
    would train on after that, and strides and levels against the feature maps of the first batch.
    Of a resumed checkpoint, it drops what could make mmengine remove files other than the run's.

    Args:
        allow_mismatch: Whether testing or resuming accepts a checkpoint whose weights differ from
            the model's. ``load_from`` always does.

    Raises:
        ConfigProblem: With one line per problem: the option or module, its value and what is
            allowed.
    """

    def __init__(self, allow_mismatch: bool = False) -> None:
        self.allow_mismatch = allow_mismatch
        self.map_checks: list[RemovableHandle] = []
        self.weight_problems: list[str] = []

    def before_run(self, runner: Runner) -> None:
        """Log which operators are in use, and check the config and the model."""
        runner.logger.info(f'Operators of mmcv in use: {describe_operators()}.')
        raise_problems(
            checks.find_config_problems(runner.cfg) + checks.find_model_problems(runner.model)
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the weights with the model's, before torch compares the optimizer's state."""
        keep_own_files(checkpoint, checkpoint_folder(runner))
        if not self.allow_mismatch:
            state = checkpoint.get('state_dict', checkpoint)
            model = unwrap_model(runner.model)
            self.weight_problems = checks.find_weight_problems(model, state, MISMATCH)
        if runner._resume:
            raise_problems(self.weight_problems)

    def before_train(self, runner: Runner) -> None:
        """Check frozen parts and the run itself, and start watching the first batch."""
        raise_problems(
            checks.find_frozen_norm_problems(runner.model) + checks.find_run_problems(runner)
        )
        self._watch(runner.model)

    def before_test(self, runner: Runner) -> None:
        """Check the weights, and start watching the first batch."""
        raise_problems(self.weight_problems)
        self._watch(runner.model)

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Stop watching after the first batch."""
        for handle in self.map_checks:
            handle.remove()
        self.map_checks = []

    after_test_iter = after_train_iter

    def _watch(self, model: nn.Module) -> None:
        for name, module in unwrap_model(model).named_modules():
            if isinstance(getattr(module, 'backbone', None), nn.Module):
                self.map_checks += checks.watch_maps(module, f'{name}.' if name else '')

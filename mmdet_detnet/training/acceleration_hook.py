"""The hook that makes a runner's detector faster."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.deployment import accelerate
from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class AccelerationHook(Hook):
    """Apply :func:`mmdet_detnet.deployment.accelerate` to a runner's detector.

    Training steps use ``channels_last`` and ``train_dtype``, validation ``channels_last``,
    ``compile`` and ``dtype``. All are those of the function.
    """

    def __init__(
        self,
        channels_last: bool = True,
        compile: bool = True,
        dtype: str | None = None,
        train_dtype: str | None = None,
    ) -> None:
        self.applied = False
        self.options: dict[str, Any] = dict(
            channels_last=channels_last, compile=compile, dtype=dtype, train_dtype=train_dtype
        )

    def before_train(self, runner: Runner) -> None:
        """Make the detector faster after its weights are initialized or loaded.

        Earlier, the other memory layout would change the random initialization.
        """
        if not self.applied:
            accelerate(runner.model, **self.options)
            self.applied = True

    before_val = before_test = before_train

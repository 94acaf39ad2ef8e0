"""The hook that makes the runner's detector faster."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.acceleration import accelerate
from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class AccelerationHook(Hook):
    """Apply :func:`mmdet_detnet.acceleration.accelerate` before a training, validation or test.

    A training gets ``channels_last`` in its own steps, and all of it where it validates. To train
    in low precision, use MMEngine's ``AmpOptimWrapper``, as by ``tools/train.py --amp``.

    Args:
        channels_last: As of the function.
        compile: As of the function.
        dtype: As of the function.
    """

    def __init__(
        self, channels_last: bool = True, compile: bool = True, dtype: str | None = None
    ) -> None:
        self.applied = False
        self.options: dict[str, Any] = dict(
            channels_last=channels_last, compile=compile, dtype=dtype
        )

    def before_train(self, runner: Runner) -> None:
        """Make the detector faster, once its weights are initialized or loaded.

        Earlier, another layout of the weights would draw other random numbers.

        Args:
            runner: Has the model, wrapped or not.
        """
        if not self.applied:
            accelerate(runner.model, **self.options)
            self.applied = True

    before_val = before_test = before_train

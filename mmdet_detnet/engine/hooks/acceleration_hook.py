"""The hook that makes the runner's detector faster."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

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
        self.options = dict(channels_last=channels_last, compile=compile, dtype=dtype)

    def before_run(self, runner: Runner) -> None:
        """Make the detector faster, inside whatever wraps it.

        Args:
            runner: Has the model.
        """
        accelerate(unwrap_model(runner.model), **self.options)


def unwrap_model(model: nn.Module) -> nn.Module:
    """Reach through distributed wrappers and test-time augmentation, which have a ``module``."""
    while hasattr(model, 'module'):
        model = model.module
    return model

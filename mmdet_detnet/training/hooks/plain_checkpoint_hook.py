"""The hook that writes checkpoints with only tensors and plain values."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import make_plain, restore
from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Write checkpoints that ``torch.load(..., weights_only=True)`` can read.

    mmengine pickles the message hub's objects. To load them, torch must be told to trust classes,
    which malicious files can exploit. This hook writes plain values instead, and restores the
    objects after loading.

    The configs list it in ``default_hooks``, so configs with their own ``custom_hooks`` keep it.
    """

    # After all hooks that add to the checkpoint.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint plain."""
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore what mmengine expects, and drop what mmengine would execute.

        Our loader has already done so for files and URLs, but not for others such as ``s3://``.
        """
        restore(checkpoint)

"""The hook that keeps checkpoints free of everything but tensors and plain values."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import make_plain, restore
from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Write checkpoints that ``torch.load(..., weights_only=True)`` reads as they are.

    mmengine pickles the message hub's objects. A torch that may load those has to be told to trust
    classes, and files can turn that against the user; this hook writes them as plain values, and
    makes objects of them again after loading.

    The configs have it among ``default_hooks``, where a config that lists its own
    ``custom_hooks`` keeps it.
    """

    # After every hook that adds to the checkpoint, before the next one of its priority.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint plain.

        Args:
            runner: Not used.
            checkpoint: What is about to be saved.
        """
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make it what mmengine expects, and drop what mmengine would execute.

        Our loader has done so for files and URLs; others, such as ``s3://``, pass here only.

        Args:
            runner: Not used.
            checkpoint: The loaded checkpoint.
        """
        restore(checkpoint)

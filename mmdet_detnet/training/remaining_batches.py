"""The remaining batches of an interrupted epoch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader


class RemainingBatches:
    """A data loader without its first batches.

    They are loaded and dropped, so that workers draw the random numbers of an uninterrupted epoch;
    mmengine's iteration-based loop does the same on resume.

    Args:
        loader: The data loader.
        first: Number of batches to skip.
    """

    def __init__(self, loader: DataLoader, first: int) -> None:
        self.loader = loader
        self.first = first

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.loader), self.first, None)

    def __len__(self) -> int:
        return len(self.loader) - self.first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def whole_loader(runner: Runner) -> DataLoader:
    """Return the training data loader with all batches of an epoch.

    Args:
        runner: The runner with the training loop.
    """
    loader = runner.train_dataloader
    return loader.loader if isinstance(loader, RemainingBatches) else loader


def skip_finished_batches(runner: Runner, epoch_length: int | None) -> None:
    """Skip the batches of an interrupted epoch that were already trained on.

    Does nothing in iteration-based training, where mmengine skips them.

    Args:
        runner: The resumed runner, before its first iteration.
        epoch_length: Number of batches of an epoch in the interrupted run; None if not known.
    """
    length = len(runner.train_dataloader)
    if not isinstance(runner.train_loop, EpochBasedTrainLoop) or not epoch_length:
        return
    done = runner.iter - runner.epoch * epoch_length
    if done == 0:
        return
    if length != epoch_length:
        runner.logger.warning(
            f'The epoch starts over: it had {epoch_length} iterations when it was interrupted, '
            f'and has {length} now.'
        )
        return
    runner.logger.info(f'Skipping {done} batches of the epoch that were already trained on.')
    runner.train_loop.dataloader = RemainingBatches(runner.train_dataloader, done)

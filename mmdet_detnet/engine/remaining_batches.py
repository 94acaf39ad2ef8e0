"""The remaining batches of an interrupted epoch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

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

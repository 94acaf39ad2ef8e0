"""Random numbers that depend on the current step, not on previous ones.

A resumed run draws the same numbers as without the interruption, given the same number of data
loader workers, and only its seeds need to be saved.
"""

import random
from collections.abc import Iterator

import numpy
import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and torch (CPU, and the process's GPU) from a few numbers.

    Args:
        key: Non-negative numbers. Other numbers give unrelated random numbers.
    """
    words = numpy.random.SeedSequence(key).generate_state(3, numpy.uint64) >> 1
    python_seed, numpy_seed, torch_seed = map(int, words)
    random.seed(python_seed)
    numpy.random.seed(numpy_seed % 2**32)
    torch.default_generator.manual_seed(torch_seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(torch_seed)


class SeedSample:
    """A data pipeline step that seeds the following steps for each sample.

    The seed depends on the epoch, the worker and the sample's number in the worker's epoch.

    Args:
        key: Numbers that identify the run and the rank.
    """

    def __init__(self, *key: int) -> None:
        self.key = key
        # Shared with the workers, which may outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._seen_epoch = -1
        self._count = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, in the main process.

        Args:
            epoch: Number of the epoch.
        """
        self._epoch.fill_(epoch)
        self._seen_epoch = -1

    def __call__(self, results: dict) -> dict:
        """Seed Python, NumPy and torch.

        Args:
            results: The sample.

        Returns:
            The same.
        """
        epoch = self._epoch.item()
        if epoch != self._seen_epoch:
            self._seen_epoch, self._count = epoch, 0
        worker = get_worker_info()
        seed_everything(*self.key, epoch, worker.id if worker else 0, self._count)
        self._count += 1
        return results


def find_sampler(loader: DataLoader) -> Sampler:
    """Find the sampler of single samples, even inside a batch sampler.

    Args:
        loader: The data loader.

    Returns:
        Its sampler.
    """
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def find_pipelines(dataset: object) -> Iterator[list]:
    """Find a data set's pipeline steps, even inside data sets that repeat or join others.

    Args:
        dataset: A data set of mmengine.

    Yields:
        Lists of steps, which can be changed.
    """
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if isinstance(steps, list):
        yield steps
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner:
        if part is not None:
            yield from find_pipelines(part)

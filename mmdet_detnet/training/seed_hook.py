"""The hook that gives a resumed run the random numbers of an uninterrupted one.

They depend on the current step, not on previous ones, so that only the seeds need to be saved.
"""

import random
from typing import Any

import numpy
import torch
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import Runner
from torch.utils.data import get_worker_info

from mmdet_detnet.registry import HOOKS

from .resuming import find_sampler, walk_datasets

SAMPLER_SEED = 'sampler_seed'
# Distinct, so that no iteration gets the random numbers of a sample.
ITERATIONS, SAMPLES = 0, 1


@HOOKS.register_module()
class SeedHook(DistSamplerSeedHook):
    """Derive random numbers from the run's seed, the rank, and the iteration or sample.

    mmengine seeds once, so random numbers depend on all previous ones, and a resumed run differs
    from an uninterrupted one wherever a detector samples or augments. A resumed run also orders its
    data by a new seed unless the config sets one; this hook keeps the first. It replaces mmengine's
    ``sampler_seed`` hook and includes its function.
    """

    _resumed_sampler_seed: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Seed the data pipeline, and restore the data order of a resumed run."""
        self._key = (runner.seed, runner.rank)
        self._seed_sample = SeedSample(SAMPLES, *self._key)
        if self._resumed_sampler_seed is not None and runner.iter > 0:
            find_sampler(runner.train_dataloader).seed = self._resumed_sampler_seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the sampler and the data pipeline which epoch starts."""
        super().before_train_epoch(runner)
        for dataset in walk_datasets(runner.train_dataloader.dataset):
            steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
            # Hooks that switch pipelines bring new ones.
            if isinstance(steps, list) and self._seed_sample not in steps:
                steps.insert(0, self._seed_sample)
        self._seed_sample.set_epoch(runner.epoch)
        seed_everything(ITERATIONS, *self._key, runner.iter)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the detector's random numbers for this iteration."""
        seed_everything(ITERATIONS, *self._key, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the seed of the data order; mmengine saves that of the run."""
        seed = getattr(find_sampler(runner.train_dataloader), 'seed', None)
        if isinstance(seed, int):
            checkpoint['meta'][SAMPLER_SEED] = seed

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the seed of the data order."""
        self._resumed_sampler_seed = checkpoint.get('meta', {}).get(SAMPLER_SEED)


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and torch (CPU, and the process's GPU) from some non-negative numbers."""
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
        """Set the epoch, in the main process."""
        self._epoch.fill_(epoch)

    def __call__(self, results: dict) -> dict:
        """Seed the random numbers of a sample, which is returned as it is."""
        epoch = self._epoch.item()
        if epoch != self._seen_epoch:
            self._seen_epoch, self._count = epoch, 0
        worker = get_worker_info()
        seed_everything(*self.key, epoch, worker.id if worker else 0, self._count)
        self._count += 1
        return results

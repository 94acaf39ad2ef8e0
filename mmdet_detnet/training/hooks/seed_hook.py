"""The hook that gives a resumed run the random numbers of an uninterrupted one."""

from typing import Any

from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import Runner

from mmdet_detnet.registry import HOOKS
from mmdet_detnet.training.random_numbers import (
    SeedSample,
    find_pipelines,
    find_sampler,
    seed_everything,
)

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
        for steps in find_pipelines(runner.train_dataloader.dataset):
            if self._seed_sample not in steps:  # hooks that switch pipelines bring new ones
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

"""The hook that makes a resumed run draw the random numbers of an uninterrupted one."""

from typing import Any

from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import Runner

from mmdet_detnet.engine.random_numbers import (
    SeedSample,
    find_pipelines,
    find_sampler,
    seed_everything,
)
from mmdet_detnet.registry import HOOKS

SAMPLER_SEED = 'sampler_seed'
# Apart, so that no iteration gets the numbers of a sample.
ITERATIONS, SAMPLES = 0, 1


@HOOKS.register_module()
class SeedHook(DistSamplerSeedHook):
    """Derive random numbers from the run's seed, the rank, and the iteration or sample.

    mmengine seeds once, so that what is drawn depends on all that was drawn before, and a resumed
    run differs from one that was not interrupted wherever a detector samples or augments. Besides,
    a resumed run orders its data by a new seed unless the config names one; this hook keeps the
    first. It stands in the place of mmengine's ``sampler_seed`` hook, which it includes.
    """

    _resumed_sampler_seed: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Let the data pipeline be seeded, and a resumed run order its data as before.

        Args:
            runner: Has the seed and the data loader.
        """
        self._key = (runner.seed, runner.rank)
        self._seed_sample = SeedSample(SAMPLES, *self._key)
        if self._resumed_sampler_seed is not None and runner.iter > 0:
            find_sampler(runner.train_dataloader).seed = self._resumed_sampler_seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell sampler and data pipeline which epoch begins.

        Args:
            runner: Knows the epoch.
        """
        super().before_train_epoch(runner)
        for steps in find_pipelines(runner.train_dataloader.dataset):
            if self._seed_sample not in steps:  # hooks that switch pipelines bring new ones
                steps.insert(0, self._seed_sample)
        self._seed_sample.set_epoch(runner.epoch)
        seed_everything(ITERATIONS, *self._key, runner.iter)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed what the detector draws in this iteration.

        Args:
            runner: Knows the iteration.
            batch_idx: Unused.
            data_batch: Unused.
        """
        seed_everything(ITERATIONS, *self._key, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the seed of the data's order; mmengine saves that of the run.

        Args:
            runner: Has the data loader.
            checkpoint: What is about to be written.
        """
        seed = getattr(find_sampler(runner.train_dataloader), 'seed', None)
        if isinstance(seed, int):
            checkpoint['meta'][SAMPLER_SEED] = seed

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the seed of the data's order.

        Args:
            runner: Unused.
            checkpoint: What was read.
        """
        self._resumed_sampler_seed = checkpoint.get('meta', {}).get(SAMPLER_SEED)

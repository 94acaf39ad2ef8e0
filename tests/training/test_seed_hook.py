"""Random numbers that follow from seed, rank, and iteration or sample."""

import random
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, RepeatDataset
from torch.utils.data import BatchSampler, DataLoader

from mmdet_detnet.training import SeedHook
from mmdet_detnet.training.seed_hook import seed_everything


class Numbers(BaseDataset):
    """Samples that are random numbers and nothing else."""

    def load_data_list(self):
        return [{} for _ in range(4)]


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def build_runner(num_workers, persistent, seed=0, rank=0):
    """A runner as the hook sees it, with a data loader."""
    data = Numbers(pipeline=[lambda results: draw()], serialize_data=False)
    data = RepeatDataset(dict(type='ConcatDataset', datasets=[data]), times=1)
    sampler = DefaultSampler(data, seed=7)
    loader = DataLoader(
        data,
        batch_sampler=BatchSampler(sampler, 2, drop_last=False),
        num_workers=num_workers,
        persistent_workers=persistent,
        collate_fn=list,
    )
    loop = SimpleNamespace(dataloader=loader)
    return SimpleNamespace(
        train_loop=loop, train_dataloader=loader, seed=seed, rank=rank, iter=0, epoch=0
    )


def load_epoch(hook, runner, epoch):
    runner.epoch = epoch
    hook.before_train_epoch(runner)
    return [tuple(sample) for batch in runner.train_dataloader for sample in batch]


@pytest.mark.parametrize(('num_workers', 'persistent'), [(0, False), (2, False), (2, True)])
def test_samples_of_an_epoch_do_not_depend_on_those_before(num_workers, persistent):
    epochs = []
    for first in (0, 1):
        runner, hook = build_runner(num_workers, persistent), SeedHook()
        hook.before_train(runner)
        epochs.append([load_epoch(hook, runner, epoch) for epoch in range(first, 3)])
    assert epochs[0][1:] == epochs[1]
    # All samples of all epochs differ, in each of the three kinds of numbers.
    samples = [sample for epoch in epochs[0] for sample in epoch]
    assert [len(set(kind)) for kind in zip(*samples, strict=True)] == [12] * 3


def test_iterations_ranks_and_seeds_differ_and_repeat():
    def numbers(seed, rank, iteration):
        runner, hook = build_runner(0, False, seed, rank), SeedHook()
        hook.before_train(runner)
        runner.iter = iteration
        hook.before_train_iter(runner, 0)
        return draw()

    keys = list(product(range(2), repeat=3))
    assert len({numbers(*key) for key in keys}) == 8
    assert numbers(1, 1, 1) == numbers(1, 1, 1)


def test_resumed_run_orders_data_as_the_first():
    first, resumed = build_runner(0, False), build_runner(0, False)
    resumed.train_dataloader.batch_sampler.sampler.seed = 99
    resumed.iter = 3
    checkpoint = {'meta': {}}
    SeedHook().before_save_checkpoint(first, checkpoint)
    hook = SeedHook()
    hook.after_load_checkpoint(resumed, checkpoint)
    hook.before_train(resumed)
    assert resumed.train_dataloader.batch_sampler.sampler.seed == 7


@pytest.mark.cuda
def test_gpu_is_seeded():
    torch.zeros((), device='cuda')
    numbers = []
    for seed in (1, 2, 1):
        seed_everything(seed)
        numbers.append(torch.rand((), device='cuda').item())
    assert numbers[0] == numbers[2] != numbers[1]

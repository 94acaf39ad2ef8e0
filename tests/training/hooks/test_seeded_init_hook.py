from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mmdet_detnet.training.hooks import SeededInitHook

INIT = [dict(type='Kaiming', layer='Conv2d'), dict(type='TruncNormal', layer='Linear', std=0.5)]


class Net(BaseModule):
    """Layers of random weights; more of them in front where `extra` is set."""

    def __init__(self, extra, init_cfg=INIT):
        super().__init__(init_cfg)
        self.extra = nn.Conv2d(3, 4, 3) if extra else nn.Identity()
        self.conv = nn.Conv2d(3, 64, 3)
        self.linear = nn.Linear(64, 64)
        self.norm = nn.BatchNorm2d(8)


class Runner(SimpleNamespace):
    """What the hook reads of a runner."""

    def __init__(self, model, seed):
        self.warnings = []
        logger = SimpleNamespace(warning=self.warnings.append)
        super().__init__(model=model, seed=seed, logger=logger)


def initialize(extra=False, seed=0, init_cfg=INIT):
    runner = Runner(Net(extra, init_cfg), seed)
    SeededInitHook().before_run(runner)
    runner.model.init_weights()
    return runner


def test_modules_in_front_do_not_shift_what_follows():
    plain, extended = initialize().model, initialize(extra=True).model
    torch.testing.assert_close(extended.conv.weight, plain.conv.weight, rtol=0, atol=0)
    torch.testing.assert_close(extended.linear.weight, plain.linear.weight, rtol=0, atol=0)


def test_without_the_hook_they_do():
    torch.manual_seed(0)
    plain = Net(extra=False)
    plain.init_weights()
    torch.manual_seed(0)
    extended = Net(extra=True)
    extended.init_weights()
    assert not torch.equal(plain.conv.weight, extended.conv.weight)


def test_seeds_and_names_give_different_weights():
    first, second = initialize(seed=0).model, initialize(seed=1).model
    values = first.conv.weight, second.conv.weight, first.linear.weight
    size = first.conv.weight.numel()
    correlation = torch.corrcoef(torch.stack([each.flatten()[:size] for each in values]))
    assert (correlation - torch.eye(3)).abs().max() < 0.1


def test_distributions_stay_those_of_the_config():
    model = initialize().model
    # Kaiming with fan_out: the variance is 2 / (64 * 9).
    assert model.conv.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.05)
    assert model.linear.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert (model.norm.weight == 1).all()


def test_global_random_numbers_do_not_change():
    torch.manual_seed(0)
    runner = Runner(Net(extra=False), 0)
    state = torch.get_rng_state()
    SeededInitHook().before_run(runner)
    runner.model.init_weights()
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_not_reached_is_named():
    assert not initialize().warnings
    (warning,) = initialize(init_cfg=INIT[:1]).warnings
    assert 'linear.weight' in warning and 'conv' not in warning and 'norm' not in warning

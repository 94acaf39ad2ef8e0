"""The hook, switched on by a config, in the loops of a real Runner."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop, Runner

HOOK = 'mmdet_detnet.AccelerationHook'


@pytest.fixture
def build_runner(tiny_detector, tmp_path):
    """Build a Runner of one epoch without validation, with a seed and options of the hook."""

    def build(seed=None, **options):
        config = Config.fromfile(tiny_detector[0])
        config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
        config.default_hooks.pop('acceleration')
        if options:
            config.default_hooks.acceleration = options
        config.train_cfg.update(max_epochs=1, val_begin=2)
        config.randomness = dict(seed=seed)
        config.work_dir = str(tmp_path)
        return Runner.from_cfg(config)

    yield build
    init_default_scope('mmdet')


def test_test_loop_runs_accelerated(build_runner):
    runner = build_runner(type=HOOK, compile=False, dtype='bf16')
    runner.test()
    assert runner.model.backbone.forward.dtype == torch.bfloat16
    assert runner.model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_training_runs_in_channels_last_and_saves_as_ever(build_runner, tmp_path):
    runner = build_runner(type=HOOK, compile=False, dtype='bf16')
    names = list(runner.model.state_dict())
    outputs = []
    runner.model.backbone.layer1.register_forward_hook(lambda *args: outputs.append(args[2]))
    runner.train()
    assert outputs[0].requires_grad and outputs[0].dtype == torch.float32
    assert outputs[0].is_contiguous(memory_format=torch.channels_last)
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert list(saved['state_dict']) == names


def test_random_initialization_stays(build_runner, monkeypatch):
    """Other layouts draw other numbers, so they have to come later."""
    starts = []

    def start(loop):
        loop.runner.call_hook('before_train')
        starts.append({k: v.clone() for k, v in loop.runner.model.state_dict().items()})

    monkeypatch.setattr(EpochBasedTrainLoop, 'run', start)
    for options in ({}, dict(type=HOOK, compile=False)):
        torch.manual_seed(0)
        build_runner(**options, seed=0).train()
    assert starts[0].keys() == starts[1].keys()
    assert all(starts[0][key].equal(starts[1][key]) for key in starts[0])

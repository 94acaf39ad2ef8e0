"""Runs that would succeed without training or measuring anything: each is named."""

import json

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner

from mmdet_detnet.training.checks import find_run_problems, find_run_warnings

IMAGES = 4


@MODELS.register_module()
class OneLine(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        raise AssertionError('is not trained')


@DATASETS.register_module()
class Ones(BaseDataset):
    def load_data_list(self):
        return [{} for _ in range(IMAGES)]


@METRICS.register_module()
class FileMetric(BaseMetric):
    def __init__(self, ann_file):
        super().__init__()

    def process(self, data_batch, data_samples):
        raise AssertionError('is not validated')

    def compute_metrics(self, results):
        raise AssertionError('is not validated')


class Checked(Exception):
    """Ends a run before its first iteration."""


class CheckHook(Hook):
    def before_train(self, runner):
        raise Checked(find_run_problems(runner), find_run_warnings(runner))


@pytest.fixture
def check(tmp_path):
    """Check a run of a valid config with some changes; its problems and warnings."""
    files = {name: tmp_path / f'{name}.json' for name in ('train', 'val')}
    for file in files.values():
        file.write_text(json.dumps({}))

    def run(**changes):
        config = dict(
            model=dict(type='OneLine'),
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(type='Ones', ann_file=str(files['train'])),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            param_scheduler=[dict(type='LinearLR', start_factor=0.1, end=6, by_epoch=False)],
            val_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='Ones', ann_file=str(files['val'])),
            ),
            val_cfg=dict(),
            val_evaluator=dict(type='FileMetric', ann_file=str(files['val'])),
            log_level='ERROR',
            experiment_name=str(tmp_path),
        )
        for key, value in changes.items():
            *parents, last = key.split('__')
            part = config
            for name in parents:
                part = part[name]
            part[last] = str(files[value]) if value in ('train', 'val') else value
        runner = Runner.from_cfg(config)
        runner.register_hook(CheckHook())
        with pytest.raises(Checked) as checked:
            runner.train()
        return checked.value.args

    return run


def test_valid_run_is_let_pass(check):
    assert check() == ([], [])


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(train_dataloader__batch_size=5, train_dataloader__drop_last=True),
            'train_dataloader has no batch: 4 images are fewer than batch_size 5, and drop_last',
        ),
        (
            dict(train_dataloader__sampler=dict(type='InfiniteSampler')),
            'with the sampler InfiniteSampler must be IterBasedTrainLoop with max_iters',
        ),
    ],
)
def test_epoch_without_a_batch_or_an_end_is_a_problem(check, changes, words):
    (problem,), _ = check(**changes)
    assert words in problem


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(val_evaluator__ann_file='train'),
            'train.json, another file: its AP means nothing unless',
        ),
        (
            dict(optim_wrapper__paramwise_cfg=dict(custom_keys={'line': {}, 'backbon': {}})),
            "no parameter has 'backbon' in its name",
        ),
        (
            dict(train_cfg__max_epochs=2),
            'LinearLR rises for 6 iterations, and the run has 4',
        ),
        (
            dict(train_cfg__val_begin=4),
            'Nothing is validated: train_cfg.val_begin is 4, of 3 epochs.',
        ),
    ],
)
def test_setting_without_effect_is_a_warning(check, changes, words):
    problems, (warning,) = check(**changes)
    assert problems == []
    assert words in warning


def test_iterations_may_be_endless(check):
    loop = dict(by_epoch=False, max_iters=6, val_interval=3)
    sampler = dict(type='InfiniteSampler')
    assert check(train_cfg=loop, train_dataloader__sampler=sampler) == ([], [])

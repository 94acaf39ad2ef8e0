"""Choosing the file to resume from. What a run saves: tests/training/test_interruptions.py."""

import io
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import BACKEND, write_checkpoint
from mmdet_detnet.config import ConfigProblem
from mmdet_detnet.training import DurableCheckpointHook
from mmdet_detnet.training.resuming import claim_folder


@pytest.fixture
def runner(tmp_path):
    """What the hook reads of a Runner that is to resume and was told no file."""
    return SimpleNamespace(
        hooks=[],
        work_dir=str(tmp_path / 'run'),
        logger=logging.getLogger('test'),
        _resume=True,
        _load_from=None,
    )


def save(path):
    content = io.BytesIO()
    torch.save({}, content)
    write_checkpoint(path, content.getvalue())


@pytest.mark.parametrize('is_damaged', [False, True])
def test_nothing_to_resume_from_is_an_error(is_damaged, runner, tmp_path):
    if is_damaged:
        save(tmp_path / 'run' / 'epoch_3.pth')
        (tmp_path / 'run' / 'epoch_3.pth').write_bytes(b'')
    with pytest.raises(FileNotFoundError, match=r'nothing to resume from: .*epoch_\*.pth') as error:
        DurableCheckpointHook().before_run(runner)
    assert ('epoch_3.pth is empty' in str(error.value)) == is_damaged


def test_newest_intact_file_is_resumed_from(runner, tmp_path, caplog):
    for epoch in (1, 2):
        save(tmp_path / 'run' / f'epoch_{epoch}.pth')
    (tmp_path / 'run' / 'epoch_2.pth').write_bytes(b'')
    (tmp_path / 'run' / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    DurableCheckpointHook().before_run(runner)
    assert runner._load_from == str(tmp_path / 'run' / 'epoch_1.pth')
    assert 'epoch_2.pth is empty' in caplog.text


def test_out_dir_is_searched(runner, tmp_path):
    path = tmp_path / 'elsewhere' / 'run' / 'iter_7.pth'
    save(path)
    hook = DurableCheckpointHook(out_dir=str(tmp_path / 'elsewhere'), by_epoch=False)
    runner.hooks.append(hook)
    hook.before_run(runner)
    assert runner._load_from == str(path)


@pytest.mark.parametrize(
    ('resume', 'load_from'), [(True, 'a.pth'), (False, 'a.pth'), (False, None)]
)
def test_named_file_is_not_replaced(resume, load_from, runner):
    runner._resume, runner._load_from = resume, load_from
    DurableCheckpointHook().before_run(runner)
    assert runner._load_from == load_from


@pytest.mark.parametrize(('given', 'used'), [(None, BACKEND), (dict(backend='local'), 'local')])
def test_given_backend_is_not_replaced(given, used):
    assert DurableCheckpointHook(backend_args=given).backend_args == dict(backend=used)


def test_names_without_a_plain_number_are_refused():
    with pytest.raises(ValueError, match=r'filename_tmpl must be a name with one \{\} .*\{:03d\}'):
        DurableCheckpointHook(filename_tmpl='epoch_{:03d}.pth')


def test_validation_alone_reads_no_training_data_and_saves_nothing(tiny_detector, tmp_path):
    config = Config.fromfile(tiny_detector[0])
    config.work_dir = str(tmp_path)
    config.train_dataloader.dataset.ann_file = 'nothing.json'
    assert 'coco/bbox_mAP' in Runner.from_cfg(config).val()
    assert not [*tmp_path.glob('*.pth')]


LOCK = (
    'import fcntl, sys; f = open(sys.argv[1], "w"); fcntl.lockf(f, fcntl.LOCK_EX); print(); input()'
)


def test_folder_in_which_another_process_trains_is_refused(tmp_path):
    command = [sys.executable, '-uc', LOCK, str(tmp_path / 'run_id')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ConfigProblem, match='another process is training in this folder'):
            claim_folder(tmp_path, 'mine')
        other.kill()
    claim_folder(tmp_path, 'a longer id').close()
    claim_folder(tmp_path, 'mine').close()
    assert (tmp_path / 'run_id').read_text() == 'mine\n'


class OneNumber(torch.utils.data.Dataset):
    def __init__(self, ann_file):
        self.ann_file = str(ann_file)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.ones(1)


class Line(torch.nn.Linear):
    def train_step(self, data, optim_wrapper):
        optim_wrapper.update_params(self(data[0][None]).sum())
        return {}


@pytest.mark.parametrize('is_changed', [True, False])
def test_changed_annotations_are_named_when_a_run_resumes(is_changed, tmp_path, capsys):
    ann_file = tmp_path / 'train.json'
    ann_file.write_text('before')

    def train(epochs, **options):
        loader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler'))
        Runner(
            Line(1, 1),
            str(tmp_path / 'run'),
            train_dataloader=dict(
                dataset=torch.utils.data.ConcatDataset([OneNumber(ann_file)]), **loader
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(checkpoint=dict(type='mmdet_detnet.DurableCheckpointHook')),
            experiment_name=f'{tmp_path}{epochs}',
            **options,
        ).train()

    train(1)
    if is_changed:
        ann_file.write_text('after')
    capsys.readouterr()
    train(2, resume=True)
    sentence = f'Annotations have changed since the checkpoint was saved: {ann_file}.'
    assert (sentence in capsys.readouterr().out) == is_changed

"""Choosing the file to resume from. What a run saves: tests/training/test_interruptions.py."""

import logging
from types import SimpleNamespace

import pytest
import torch

from mmdet_detnet.checkpoints import BACKEND, write_checkpoint
from mmdet_detnet.training import DurableCheckpointHook


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


@pytest.mark.parametrize('folder', ['missing', 'empty', 'only_damaged'])
def test_nothing_to_resume_from_is_an_error(folder, runner, tmp_path):
    if folder != 'missing':
        (tmp_path / 'run').mkdir()
    if folder == 'only_damaged':
        (tmp_path / 'run' / 'epoch_3.pth').write_bytes(b'')
    with pytest.raises(FileNotFoundError, match=r'nothing to resume from: .*epoch_\*.pth') as error:
        DurableCheckpointHook().before_run(runner)
    assert ('epoch_3.pth is empty' in str(error.value)) == (folder == 'only_damaged')


def test_newest_intact_file_is_resumed_from(runner, tmp_path, caplog):
    torch.save({}, tmp_path / 'content')
    for epoch in (1, 2):
        write_checkpoint(
            tmp_path / 'run' / f'epoch_{epoch}.pth', (tmp_path / 'content').read_bytes()
        )
    (tmp_path / 'run' / 'epoch_2.pth').write_bytes(b'')
    (tmp_path / 'run' / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    DurableCheckpointHook().before_run(runner)
    assert runner._load_from == str(tmp_path / 'run' / 'epoch_1.pth')
    assert 'epoch_2.pth is empty' in caplog.text


def test_out_dir_is_searched(runner, tmp_path):
    torch.save({}, tmp_path / 'content')
    path = tmp_path / 'elsewhere' / 'run' / 'iter_7.pth'
    write_checkpoint(path, (tmp_path / 'content').read_bytes())
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


def test_given_backend_is_not_replaced():
    assert DurableCheckpointHook().backend_args == dict(backend=BACKEND)
    assert DurableCheckpointHook(backend_args=dict(backend='local')).backend_args == dict(
        backend='local'
    )

"""What a terminal shows of a run: a line per epoch and AP, and nothing else."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmdet_detnet.training import ProgressHook, QuietRunner


@pytest.fixture
def runner():
    """A runner in the second of three epochs, with a loss of 0.5 and 61 seconds left."""
    hub = MessageHub('progress-test')
    for loss in (0.4, 0.6):
        hub.update_scalar('train/loss', loss)
    hub.update_info('eta', 61)
    return SimpleNamespace(
        epoch=1,
        max_epochs=3,
        max_iters=8,
        message_hub=hub,
        train_dataloader=range(4),
        train_loop=SimpleNamespace(stop_training=False),
        logger=SimpleNamespace(_log_file='run.log'),
    )


def test_epoch_is_one_line(runner, capsys):
    hook = ProgressHook()
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    output = capsys.readouterr()
    assert output.out == 'epoch 2/3: loss 0.500, 0:01:01 left\n'
    assert output.err == ''


def test_last_and_best_ap_are_shown(runner, capsys):
    hook = ProgressHook()
    for value in (0.3, 0.2):
        hook.after_val_epoch(runner, {'coco/bbox_mAP': value})
    hook.after_train_epoch(runner)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '    validation: AP 0.300, best 0.300'
    assert lines[1] == '    validation: AP 0.200, best 0.300'
    assert 'AP 0.200' in lines[2]


def test_end_says_that_it_is_early(runner, capsys):
    hook = ProgressHook()
    hook.before_train(runner)
    runner.train_loop.stop_training = True
    hook.after_train(runner)
    first, last = capsys.readouterr().out.splitlines()
    assert first == 'epochs: 3; the full log: run.log'
    assert last.startswith('epochs trained: 1, in 0:00:0')
    assert last.endswith('stopped early')


def make_quiet_runner(log_file):
    runner = QuietRunner.__new__(QuietRunner)
    runner._experiment_name = str(log_file)  # loggers of one name are the same
    runner.logger = runner.build_logger(log_file=str(log_file))
    return runner


def test_log_goes_to_the_file_and_warnings_to_the_terminal(tmp_path, capsys):
    logger = make_quiet_runner(tmp_path / 'run.log').logger
    logger.info('four hundred lines')
    logger.warning('"FileClient" will be deprecated in future.')
    logger.warning('careful')
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith('careful')
    log = (tmp_path / 'run.log').read_text()
    assert 'four hundred lines' in log
    assert 'deprecated' in log


def test_what_libraries_print_goes_to_the_file(runner, tmp_path, capsys, monkeypatch):
    quiet, hook = make_quiet_runner(tmp_path / 'run.log'), ProgressHook()

    def train(self):
        print('loading annotations into memory...')  # pycocotools
        hook.after_train_epoch(runner)
        self.logger.info('Saving checkpoint at 1 epochs')

    monkeypatch.setattr(Runner, 'train', train)
    quiet.train()
    assert capsys.readouterr().out == 'epoch 2/3: loss 0.500, 0:01:01 left\n'
    first, second = (tmp_path / 'run.log').read_text().splitlines()
    assert first == 'loading annotations into memory...'
    assert second.endswith('Saving checkpoint at 1 epochs')

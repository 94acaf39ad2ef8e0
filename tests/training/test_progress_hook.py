"""What a terminal shows of a run: a line per epoch and AP, and nothing else."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdet_detnet.training import ProgressHook, QuietRunner


@pytest.fixture
def runner():
    """A runner in the second of three epochs, with a loss of 0.5 and 61 seconds left.

    A run that it resumes has had an AP of 0.3.
    """
    hub = MessageHub('progress-test')
    hub.update_scalar('val/coco/bbox_mAP', 0.3)
    for loss in (0.4, 0.6):
        hub.update_scalar('train/loss', loss)
    hub.update_info('eta', 61)
    return SimpleNamespace(
        epoch=1,
        iter=5,
        max_epochs=3,
        max_iters=8,
        message_hub=hub,
        train_dataloader=range(4),
        train_loop=Mock(EpochBasedTrainLoop, stop_training=True),
        logger=SimpleNamespace(_log_file='run.log'),
    )


def test_lines_of_a_run(runner, capsys):
    hook = ProgressHook()
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, batch_idx=0)
    hook.after_train_epoch(runner)
    runner.message_hub.update_scalar('val/coco/bbox_mAP', 0.2)
    hook.after_val_epoch(runner)
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    output = capsys.readouterr()
    assert output.err == ''
    *lines, last = output.out.splitlines()
    assert lines == [
        'epochs: 3; the full log: run.log',
        'epoch 2/3: loss 0.500, AP 0.300, 0:01:01 left',
        '    validation: AP 0.200, best 0.300',
        'epoch 2/3: loss 0.500, AP 0.200, 0:01:01 left',
    ]
    assert last.startswith('epochs trained: 1, in 0:00:0')
    assert last.endswith('best AP 0.300, stopped early')


def test_iterations_are_counted_where_there_are_no_epochs(runner, capsys):
    runner.train_loop = Mock(IterBasedTrainLoop, stop_training=False)
    hook = ProgressHook()
    hook.before_train(runner)
    hook.after_train(runner)
    first, last = capsys.readouterr().out.splitlines()
    assert first == 'iterations: 8; the full log: run.log'
    assert last.startswith('iterations trained: 5, in ')


def test_all_else_goes_to_the_file_and_warnings_to_the_terminal(
    runner, tmp_path, capsys, monkeypatch
):
    log = tmp_path / 'run.log'
    quiet, hook = QuietRunner.__new__(QuietRunner), ProgressHook()
    quiet._experiment_name = str(log)  # loggers of one name are the same
    quiet.logger = quiet.build_logger(log_file=str(log))

    def train(self):
        print('loading annotations into memory...')  # pycocotools
        hook.before_train_epoch(runner)
        hook.after_train_epoch(runner)
        self.logger.info('Saving checkpoint at 1 epochs')
        self.logger.warning('"FileClient" will be deprecated in future.')
        self.logger.warning('careful')

    monkeypatch.setattr(Runner, 'train', train)
    quiet.train()
    epoch, warning = capsys.readouterr().out.splitlines()
    assert epoch.startswith('epoch 2/3: loss 0.500')
    assert warning.endswith('careful')
    words = ('loading annotations', 'Saving checkpoint', 'deprecated', 'careful')
    lines = log.read_text().splitlines()
    assert len(lines) == 4 and all(word in line for word, line in zip(words, lines, strict=True))

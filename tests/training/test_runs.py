"""`mmdet-detnet train` and what comes after it: which options, which checkpoint."""

import os

import pytest
import torch

from mmdet_detnet import cli
from mmdet_detnet.cli import main
from mmdet_detnet.training import launch, runs
from mmdet_detnet.training.runs import find_checkpoint

QUIET = ['--cfg-options', 'runner_type=mmdet_detnet.QuietRunner']
PROGRESS = [*QUIET, 'default_hooks.progress.type=mmdet_detnet.ProgressHook']


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Only note the command lines of training and testing."""
    lines = []
    monkeypatch.setattr(runs.launch, 'train', lambda line, check: lines.append(line))
    monkeypatch.setattr(runs.launch, 'test', lines.append)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my.py').write_text("work_dir = 'work'\n")
    return lines


def write_checkpoints(folder, *names):
    folder.mkdir(exist_ok=True)
    for age, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (age, age))
    (folder / 'last_checkpoint').write_text(f'/the/original/{names[0]}')


def test_best_checkpoint_comes_before_the_last_also_in_a_copy(tmp_path):
    write_checkpoints(tmp_path, 'epoch_9.pth', 'best_coco_epoch_2.pth', 'best_coco_epoch_8.pth')
    assert find_checkpoint(tmp_path).name == 'best_coco_epoch_8.pth'
    for file in tmp_path.glob('best*'):
        file.unlink()
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_9.pth'


def test_checkpoints_of_earlier_runs_are_not_those_of_the_last(tmp_path):
    write_checkpoints(tmp_path, 'epoch_9.pth')
    for name, run in [('best_a.pth', 'old'), ('epoch_9.pth', 'old'), ('best_b.pth', 'new')]:
        torch.save({'meta': {'run': run}}, tmp_path / name)
    os.utime(tmp_path / 'best_b.pth', (0, 0))
    (tmp_path / 'run_id').write_text('new\n')
    assert find_checkpoint(tmp_path) == tmp_path / 'best_b.pth'
    (tmp_path / 'best_b.pth').unlink()
    with pytest.raises(FileNotFoundError, match='has no checkpoint'):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(arguments=['--cfg-options', 'work_dir=here']), 'give --work-dir'),
        (dict(show='all'), r"show must be one of \['warnings', 'progress', 'everything'\]"),
    ],
)
def test_options_that_would_lose_the_run_are_refused(options, words, started, tmp_path):
    with pytest.raises(ValueError, match=words):
        runs.train(tmp_path / 'my.py', **options)
    assert started == []


COSINE = dict(type='CosineAnnealingLR', T_max=12)
STEPS = dict(type='MultiStepLR', begin=0, end=12, milestones=[8, 11])
WARM_UP = dict(type='LinearLR', begin=0, end=500, by_epoch=False)


@pytest.mark.parametrize(
    ('schedule', 'epochs', 'changes'),
    [
        (None, 24, {}),
        (COSINE, 24, {'T_max': 24}),
        ([WARM_UP, STEPS], 24, {'1.end': 24, '1.milestones': [16, 22]}),
        # 5.5 is no 6, where training has ended, and 0.9 no 0, where it starts.
        ([WARM_UP, STEPS], 6, {'1.end': 6, '1.milestones': [4, 5]}),
        ([WARM_UP, STEPS], 1, {'1.end': 1, '1.milestones': [1, 1]}),
    ],
)
def test_number_of_epochs_stretches_the_schedule(schedule, epochs, changes, started, tmp_path):
    text = f"work_dir = 'work'\ntrain_cfg = dict(max_epochs=12)\nparam_scheduler = {schedule}\n"
    (tmp_path / 'my.py').write_text(text)
    write_checkpoints(tmp_path / 'work', 'epoch_1.pth')
    assert main(['train', 'my.py', '--epochs', str(epochs), '--verbose']) == 0
    options = dict(launch._make_train_parser().parse_args(started[-1]).cfg_options)
    assert options.pop('train_cfg.max_epochs') == epochs
    assert options == {f'param_scheduler.{key}': value for key, value in changes.items()}


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('train_cfg = dict(max_iters=12)', 'the config counts iterations'),
        (
            f'train_cfg = dict(max_epochs=20)\nparam_scheduler = [{COSINE}]',
            'param_scheduler.0.T_max is 12 of 20 epochs. Set all',
        ),
        ('val_cfg = None', 'the config counts iterations, or has no train_cfg'),
        (
            f'train_cfg = dict(max_epochs=12)\nparam_scheduler = dict(a=[{COSINE}])',
            'param_scheduler is of several optimizers',
        ),
        (
            f'train_cfg = dict(max_epochs=12)\nparam_scheduler = [{COSINE | dict(by_epoch=False)}]',
            'param_scheduler.0 counts iterations',
        ),
    ],
)
def test_epochs_that_the_schedule_does_not_follow_are_refused(
    text, words, started, tmp_path, capsys
):
    (tmp_path / 'my.py').write_text(text)
    assert main(['train', 'my.py', '--epochs', '24']) == 2
    assert f'mmdet-detnet train: --epochs: {words}' in capsys.readouterr().err
    with pytest.raises(ValueError, match='epochs must be a positive integer, got 0'):
        runs.train(tmp_path / 'my.py', epochs=0)
    assert started == []


def test_resumed_run_keeps_its_number_of_epochs(started, tmp_path, capsys):
    write_checkpoints(tmp_path / 'work', 'epoch_1.pth')
    (tmp_path / 'work/20250101_000000/vis_data').mkdir(parents=True)
    dump = tmp_path / 'work/20250101_000000/vis_data/config.py'
    dump.write_text('train_cfg = dict(max_epochs=12)\n')
    (tmp_path / 'my.py').write_text("work_dir = 'work'\ntrain_cfg = dict(max_epochs=20)\n")
    assert main(['train', 'my.py', '--epochs', '24']) == 2
    assert 'has a schedule of 12 epochs. Start over with --from-start' in capsys.readouterr().err
    assert started == []
    assert main(['train', 'my.py', '--epochs', '24', '--from-start']) == 0
    assert main(['train', 'my.py', '--epochs', '12']) == 0
    own = ['--cfg-options', 'train_cfg.max_epochs=9']
    assert main(['train', 'my.py', '--epochs', '12', *own]) == 2
    assert 'sets train_cfg.max_epochs and param_scheduler itself' in capsys.readouterr().err


def test_named_checkpoint_is_resumed_from_and_unknown_images_stop_nothing(
    started, tmp_path, capsys
):
    write_checkpoints(tmp_path / 'work', 'epoch_1.pth')
    assert main(['train', 'my.py', '--resume', 'other.pth']) == 0
    assert launch._make_train_parser().parse_args(started[-1]).resume == 'other.pth'
    assert 'mmdet-detnet predict my.py IMAGES\n' in capsys.readouterr().out


def test_no_checkpoint_is_one_line(started, capsys):
    assert main(['test', 'my.py']) == 2
    assert 'work has no checkpoint: train first' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('show', 'shown'), [('everything', []), ('warnings', QUIET), ('progress', PROGRESS)]
)
def test_interrupted_training_goes_on_unless_it_begins_anew(show, shown, started, tmp_path):
    write_checkpoints(tmp_path / 'work', 'epoch_1.pth')
    runs.train(tmp_path / 'my.py', show=show)
    assert started[-1][1:] == ['--resume=auto', *shown]
    runs.train(tmp_path / 'my.py', ['--amp'], from_start=True, show=show)
    assert started[-1][1:] == ['--amp', *shown]


def test_work_dir_is_used_by_every_line(started, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, '_find_test_images', lambda config: 'my images')
    write_checkpoints(tmp_path / 'other', 'epoch_1.pth')
    assert main(['train', 'my.py', '--work-dir', 'other', '--verbose']) == 0
    assert started[-1] == ['my.py', '--resume=auto', '--work-dir', 'other']
    lines = capsys.readouterr().out.split('Next:\n')[1].splitlines()
    assert lines[0] == 'mmdet-detnet test my.py --work-dir other'
    assert lines[2] == "mmdet-detnet predict my.py --work-dir other 'my images'"
    assert main([*lines[0].split()[1:], '--tta']) == 0
    assert started[-1] == ['my.py', 'other/epoch_1.pth', '--work-dir', 'other', '--tta', *QUIET]

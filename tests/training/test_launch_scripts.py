"""What tools/dist_*.sh and the launcher start."""

import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from test_logging import SHORT
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mmdet_detnet import config_path
from mmdet_detnet.training import launch

ROOT = Path(__file__).resolve().parents[2]
# Lines of docs/distributed.md, the options that they give torchrun, and what it runs.
ALONE = '--nnodes=1 --node-rank=0 --nproc-per-node=8 --master-addr=127.0.0.1 --master-port=29500'
SECOND = '--nnodes=2 --node-rank=1 --nproc-per-node=8 --master-addr=10.0.0.1 --master-port=29501'
TRAIN, TEST = 'tools/dist_train.sh CONFIG 8', 'tools/dist_test.sh CONFIG CHECKPOINT 8'
SCRIPTS = [
    (f'{TRAIN} --amp', ALONE, 'train.py CONFIG --launcher pytorch --amp'),
    (TEST, ALONE, 'test.py CONFIG CHECKPOINT --launcher pytorch'),
    (
        f'NNODES=2 NODE_RANK=1 MASTER_ADDR=10.0.0.1 PORT=29501 {TRAIN}',
        SECOND,
        'train.py CONFIG --launcher pytorch',
    ),
]
DEMO = config_path('demo/faster-rcnn_detnet59-slim_fpn_shapes.py')
PRINT_ARGUMENTS = '#!/bin/sh\necho python "$@"\n'


@pytest.fixture
def run_line(tmp_path):
    """Run a shell line in the checkout, where `python` only prints how it was called."""
    stub = tmp_path / 'python'
    stub.write_text(PRINT_ARGUMENTS)
    stub.chmod(0o755)
    environment = {'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'}

    def run(line):
        return subprocess.run(
            ['bash', '-c', line], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(('line', 'options', 'script'), SCRIPTS)
def test_script_starts_torchrun(line, options, script, run_line):
    started = f'python -m torch.distributed.run {options} tools/{script}'
    assert run_line(line).stdout.strip() == started


@pytest.mark.parametrize(
    ('wanted', 'expected'), [(None, ['passive', '2000']), ('active', ['active', 'None'])]
)
def test_threads_hardly_spin_unless_told_and_nothing_heavy_is_imported(wanted, expected):
    """OpenMP reads it when torch is imported; spinning costs all others on the same cores."""
    names = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')
    code = f'import os, sys, mmdet_detnet; print(*map(os.environ.get, {names}), *sys.modules)'
    env = {key: value for key, value in os.environ.items() if key not in names}
    env |= {'OMP_WAIT_POLICY': wanted} if wanted else {}
    run = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    *values, modules = run.stdout.split(maxsplit=2)
    assert values == expected
    assert not {'torch', 'mmdet', 'mmcv', 'cv2'} & {*modules.split()}


@pytest.mark.parametrize(
    ('num_gpus', 'options'), [(2, []), (0, ['--cfg-options', 'train_dataloader.batch_size=4'])]
)
def test_gpus_are_ranks_of_torchrun_and_share_the_batch_of_a_cpu(
    num_gpus, options, monkeypatch, tmp_path
):
    started, checked = [], []
    monkeypatch.setattr(launch, 'run_ranks', started.append)
    monkeypatch.setattr(launch.torch.cuda, 'device_count', lambda: num_gpus)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.chdir(tmp_path)
    arguments = [DEMO, '--resume=auto']
    launch.train_on_ranks(2, arguments, lambda config: checked.append(config) or [])
    torchrun = ['--standalone', '--nproc-per-node=2', '--module', 'mmdet_detnet.training']
    rest = ['--launcher', 'pytorch', '--skip-data-check', *options]
    assert started == [[*torchrun, *arguments, *rest]]
    assert len(checked) == 1


@pytest.mark.parametrize(
    ('launcher', 'ranks', 'is_checked'),
    [
        ('none', {'SLURM_PROCID': '1'}, True),
        # Nodes of torchrun may be numbered otherwise than tasks of Slurm.
        ('pytorch', {'SLURM_PROCID': '1', 'RANK': '0'}, True),
        ('pytorch', {'RANK': '1'}, False),
        ('slurm', {'SLURM_PROCID': '1'}, False),
    ],
)
def test_first_rank_of_the_launcher_checks_the_data(
    launcher, ranks, is_checked, monkeypatch, tmp_path
):
    for name, rank in ranks.items():
        monkeypatch.setenv(name, rank)
    monkeypatch.chdir(tmp_path)
    checked = []
    args = launch._make_train_parser().parse_args([DEMO, '--launcher', launcher])
    launch._prepare_training(args, lambda config: checked.append(config) or [])
    assert bool(checked) == is_checked


def test_processes_of_torchrun_do_not_train_alone_in_one_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        launch.train([DEMO])
    assert '--launcher must be pytorch in one of the 2 processes' in capsys.readouterr().err


def test_torchrun_starts_the_ranks(monkeypatch, tmp_path):
    script = "import os, sys; open(sys.argv[1] + os.environ['RANK'], 'x')"
    (tmp_path / 'rank.py').write_text(script)
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
    handlers = {number: signal.getsignal(number) for number in numbers}
    ranks = ['--standalone', '--nproc-per-node=2']
    launch.run_ranks([*ranks, str(tmp_path / 'rank.py'), f'{tmp_path}/'])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert (tmp_path / '0').exists() and (tmp_path / '1').exists()
    # And this is what each rank is.
    monkeypatch.setattr(sys, 'argv', ['training', '--help'])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_module('mmdet_detnet.training', run_name='__main__')


@pytest.mark.parametrize(
    ('num_ranks', 'problems', 'words'),
    [
        (0, [], '--gpus must be at least 1, got 0.'),
        (3, [], 'must divide train_dataloader.batch_size=8, got 3'),
        (2, ['no boxes'], 'no boxes'),
    ],
)
def test_problems_are_named_before_a_process_starts(
    num_ranks, problems, words, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(launch, 'run_ranks', lambda line: pytest.fail('started'))
    monkeypatch.setattr(launch.torch.cuda, 'device_count', lambda: 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        launch.train_on_ranks(num_ranks, [DEMO], lambda config: problems)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize('place', ['inside', 'linked', 'outside'])
def test_config_in_the_work_directory_is_not_replaced_by_a_dump(
    place, tiny_detector, monkeypatch, tmp_path
):
    config = tmp_path / 'run' / 'config.py'
    config.parent.mkdir()
    trained = shutil.copy(tiny_detector[0], config if place == 'inside' else tmp_path)
    if place == 'linked':
        config.symlink_to(trained)
        trained = config
    elif place == 'outside':
        config.write_text("_base_ = '../config.py'\n# My changes.\n")
    before = config.read_text()
    monkeypatch.setattr(launch.Runner, 'train', lambda runner: None)
    # A visualizer of that name keeps its backends for later tests.
    options = ['--cfg-options', *SHORT, 'train_dataloader.batch_size=1', 'visualizer.name=dump']
    launch.train([str(trained), '--work-dir', str(config.parent), *options])
    assert config.read_text() == before
    (dump,) = set(config.parent.glob('*.py')) - {config}
    assert Config.fromfile(dump).train_dataloader.batch_size == 1


@pytest.mark.parametrize(
    ('stop', 'status', 'sentence'),
    [
        (SignalException('', signal.SIGINT), 130, 'Continue with --resume'),
        (ChildFailedError('', {0: ProcessFailure(0, 1, 2, '<NONE>')}), 2, ''),
    ],
)
def test_ranks_that_stop_end_the_command_without_a_traceback(
    stop, status, sentence, monkeypatch, tmp_path, capsys
):
    def run(line):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun leaves its handlers
        logging.getLogger('torch.distributed.elastic').warning('Sending process 7 SIGINT')
        raise stop

    monkeypatch.setattr(launch, 'run_ranks', run)
    monkeypatch.chdir(tmp_path)
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        launch.train_on_ranks(2, [DEMO])
    assert end.value.code == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(sentence) and all(sentence in line for line in lines)
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_interrupted_rank_ends_without_waiting_for_the_others(monkeypatch, capsys):
    def end(code):
        raise RuntimeError(f'ended at once with {code}')

    monkeypatch.setattr(launch, 'is_distributed', lambda: True)
    monkeypatch.setattr(launch, 'stop_workers', lambda: None)
    monkeypatch.setattr(launch.signal, 'signal', lambda number, handler: None)
    monkeypatch.setattr(launch.os, '_exit', end)
    with pytest.raises(RuntimeError, match='at once with 130'), launch._explain('train.py'):
        raise KeyboardInterrupt
    assert 'Continue with --resume' in capsys.readouterr().err

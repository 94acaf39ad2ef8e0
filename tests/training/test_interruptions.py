"""A run that is stopped anywhere, in any way, resumes as if nothing had happened.

``DETNET_KILLS=50`` stops it at fifty points of a save instead of one, and at twenty others by
SIGKILL and by SIGTERM; that made the figures of docs/reliability.md.
"""

import os
import random
import re
import shutil
import signal

import pytest
import torch
from interruptions import (
    BATCH,
    EPOCHS,
    IMAGES,
    ITERATIONS,
    LAST,
    assert_equal_bits,
    count_epochs,
    log_file,
    start,
    train,
    wait,
    write_config,
)

from mmdet_detnet.data.drawn_shapes import generate_shapes

pytestmark = pytest.mark.xdist_group('fork server')

KILLS_IN_SAVES = int(os.environ.get('DETNET_KILLS', 1))
KILLS_ELSEWHERE = int(os.environ.get('DETNET_KILLS', 0)) * 2 // 5
FULL_DISKS = max(1, KILLS_IN_SAVES // 10)
# From this operation on there is a checkpoint: it is written, flushed and moved.
FIRST_SAVE = 4
# A resumed run is given no seed: it has to take that of the file.
SEED = {'randomness.seed': 0}


@pytest.fixture(scope='module')
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp('interruptions')
    data = generate_shapes(folder / 'shapes', num_train=IMAGES, num_val=BATCH)
    return write_config(folder / 'config', data)


@pytest.fixture(scope='module')
def uninterrupted(config_file, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp('uninterrupted') / 'run'
    code, output = train(config_file, folder, options=SEED)
    assert code == 0, output
    return folder


@pytest.fixture(scope='module')
def num_operations(uninterrupted):
    """How often that run wrote, flushed, moved or removed a file of a checkpoint."""
    output = log_file(uninterrupted).read_text()
    return int(re.search(r'operations on the disk: (\d+)', output)[1])


def resume_and_compare(config_file, folder, uninterrupted, output):
    """Resume; the result is that of an uninterrupted run, and one epoch at most was repeated."""
    code, resumed_output = train(config_file, folder, resume=True)
    assert code == 0, resumed_output
    assert_equal_bits(uninterrupted / LAST, folder / LAST)
    assert count_epochs(output) + count_epochs(resumed_output) <= EPOCHS + 1
    return resumed_output


def test_a_run_leaves_its_last_and_best_checkpoint(uninterrupted):
    (best,) = uninterrupted.glob('best_*.pth')
    assert {path.name for path in uninterrupted.glob('*.pth*')} == {LAST, best.name}


@pytest.mark.parametrize('seed', range(KILLS_IN_SAVES))
def test_killed_while_it_saves(seed, config_file, uninterrupted, num_operations, tmp_path):
    choice = random.Random(seed)
    moment = dict(operation=choice.randint(FIRST_SAVE, num_operations), written=choice.random())
    code, output = train(config_file, tmp_path / 'run', options=SEED, **moment)
    assert code == -signal.SIGKILL, output
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)


@pytest.mark.parametrize('seed', range(KILLS_ELSEWHERE))
def test_killed_elsewhere(seed, config_file, uninterrupted, tmp_path):
    iteration = random.Random(seed).randrange(ITERATIONS, EPOCHS * ITERATIONS)
    code, output = train(config_file, tmp_path / 'run', options=SEED, iteration=iteration)
    assert code == -signal.SIGKILL, output
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)


def test_copy_of_a_killed_run_resumes_from_its_own_files(config_file, uninterrupted, tmp_path):
    code, output = train(config_file, tmp_path / 'run', options=SEED, iteration=ITERATIONS + 1)
    assert code == -signal.SIGKILL, output
    shutil.copytree(tmp_path / 'run', tmp_path / 'copy')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'run').iterdir()}
    resume_and_compare(config_file, tmp_path / 'copy', uninterrupted, output)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'run').iterdir()} == before


@pytest.mark.parametrize('seed', range(FULL_DISKS))
def test_full_disk(seed, config_file, uninterrupted, tmp_path):
    size = (uninterrupted / LAST).stat().st_size
    limit = random.Random(seed).randrange(size // 2, size)
    code, output = train(config_file, tmp_path / 'run', options=SEED, limit=limit)
    assert code == 1
    assert 'epoch_1.pth could not be written' in output  # again, to note the best one in it
    assert (tmp_path / 'run' / 'epoch_1.pth').stat().st_size > limit
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)


def test_sigterm_saves_inside_the_epoch_and_leaves_no_process(config_file, uninterrupted, tmp_path):
    iteration = ITERATIONS + 1
    code, output = train(
        config_file,
        tmp_path / 'run',
        options=SEED,
        iteration=iteration,
        signal_number=int(signal.SIGTERM),
    )
    assert code == 143, output
    assert 'workers alive: 0' in output
    assert (tmp_path / 'run' / f'epoch_1_iter_{iteration + 1}.pth').exists()
    resumed_output = resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)
    assert count_epochs(resumed_output) * ITERATIONS == EPOCHS * ITERATIONS - iteration - 1


def test_sigterm_in_validation_saves_what_training_goes_on_with(
    config_file, uninterrupted, tmp_path
):
    # The epoch's checkpoint is not there yet, and EMAHook has exchanged the weights.
    moment = dict(validation=2 * ITERATIONS, signal_number=int(signal.SIGTERM))
    options = {**SEED, 'default_hooks.checkpoint.interval': 3}
    code, output = train(config_file, tmp_path / 'run', options=options, **moment)
    assert code == 143, output
    resumed_output = resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)
    assert count_epochs(resumed_output) == 1
    assert resumed_output.count('Epoch(val)') == output.count('Epoch(val)') + 1


def test_sigint_leaves_no_process_and_the_next_one_no_traceback(config_file, tmp_path):
    moment = dict(iteration=1, signal_number=int(signal.SIGINT))
    code, output = train(config_file, tmp_path / 'run', options=SEED, **moment)
    assert code == 130, output
    assert 'train.py: interrupted. Continue with --resume.' in output
    assert 'workers alive: 0' in output
    assert 'SIGINT: SIG_DFL' in output


def test_sigterm_in_the_last_validation(config_file, uninterrupted, tmp_path):
    moment = dict(validation=EPOCHS * ITERATIONS, signal_number=int(signal.SIGTERM))
    code, output = train(config_file, tmp_path / 'run', options=SEED, **moment)
    assert code == 143, output
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)
    notes = [
        torch.load(folder / LAST, weights_only=True)['message_hub']['runtime_info']['best_score']
        for folder in (tmp_path / 'run', uninterrupted)
    ]
    assert notes[0] == notes[1]


def test_sigterm_in_iteration_based_training(config_file, tmp_path):
    options = {
        'train_cfg._delete_': True,
        'train_cfg.type': 'IterBasedTrainLoop',
        'train_cfg.max_iters': 3,
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'default_hooks.checkpoint.by_epoch': False,
        'custom_hooks': '[]',
        'param_scheduler': '[]',
    }
    moment = dict(iteration=1, signal_number=int(signal.SIGTERM))
    code, output = train(config_file, tmp_path / 'run', options={**SEED, **options}, **moment)
    assert code == 143, output
    assert 'workers alive: 0' in output
    assert (tmp_path / 'run' / 'iter_2.pth').exists()


@pytest.mark.parametrize('seed', range(KILLS_ELSEWHERE))
def test_sigterm_anywhere(seed, config_file, uninterrupted, tmp_path):
    calls = int(re.search(r'calls of the hooks: (\d+)', log_file(uninterrupted).read_text())[1])
    call = random.Random(seed).randrange(calls - 2)  # the last two are after training
    moment = dict(call=call, signal_number=int(signal.SIGTERM))
    code, output = train(config_file, tmp_path / 'run', options=SEED, **moment)
    if code == -signal.SIGTERM and not (tmp_path / 'run' / 'last_checkpoint').exists():
        pytest.skip('before training')
    assert code in (0, 143), output
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_image_that_is_deleted_during_training_is_named(config_file, tmp_path, num_workers):
    shapes = tmp_path / 'shapes'
    shutil.copytree(config_file.parent.parent / 'shapes', shapes)
    (shapes / 'val' / '000000.png').unlink()
    loader = dict(num_workers=num_workers, persistent_workers=False)
    options = {f'val_dataloader.{key}': value for key, value in loader.items()}
    options['val_dataloader.dataset.data_root'] = f'{shapes}/'
    code, output = train(config_file, tmp_path / 'run', options={**SEED, **options})
    assert code == 2
    (sentence,) = [line for line in output.splitlines() if line.startswith('train.py: ')]
    assert f"No such file or directory: '{shapes}/val/000000.png'" in sentence
    assert 'Traceback' not in output
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


def test_run_goes_on_with_its_own_checkpoints_and_says_what_has_changed(
    config_file, uninterrupted, tmp_path
):
    """A new run in the folder of an old one, whose schedule is then changed."""
    folder = tmp_path / 'run'
    shutil.copytree(uninterrupted, folder)
    code, output = train(
        config_file, folder, options={'randomness.seed': 1}, iteration=ITERATIONS + 1
    )
    assert code == -signal.SIGKILL, output
    assert f'has checkpoints of another run, which are not resumed from: {LAST}' in output
    optimizer = 'optim_wrapper.optimizer'
    code, output = train(
        config_file, folder, resume=True, options={f'{optimizer}.type': 'Adadelta'}
    )
    assert code == 2
    assert 'The checkpoint is of another optimizer than the config: it has amsgrad.' in output
    options = {'param_scheduler.1.T_max': 7, 'optim_wrapper.optimizer.weight_decay': 0.5}
    code, output = train(config_file, folder, resume=True, options=options)
    assert code == 0, output
    assert f'Not resumed from: {folder / LAST} is of another run' in output
    assert count_epochs(output) == EPOCHS - 1
    # In iterations, four an epoch, of 12 and 7 epochs.
    assert 'weight_decay is 0.05, and 0.5 in the config; ' in output
    assert '; CosineAnnealingLR.T_max is 48, and 28 in the config' in output


def test_early_stopping_counts_the_validations_before_an_interruption(config_file, tmp_path):
    options = {**SEED, 'train_cfg.max_epochs': 5, 'custom_hooks.2.patience': 2}
    moment = dict(iteration=2 * ITERATIONS + 1)
    code, output = train(config_file, tmp_path / 'run', options=options, **moment)
    assert code == -signal.SIGKILL, output
    code, output = train(config_file, tmp_path / 'run', resume=True, options=options)
    assert code == 0, output
    # The first validation is the best, and two more do not improve on it by 1.
    assert [path.name for path in (tmp_path / 'run').glob('epoch_*.pth')] == ['epoch_3.pth']


def test_training_that_diverges_ends_and_saves_nothing_that_is_not_finite(config_file, tmp_path):
    rate = {'optim_wrapper.optimizer.lr': 1e6, 'param_scheduler': '[]'}
    code, output = train(config_file, tmp_path / 'run', options={**SEED, **rate})
    assert code == 1
    error = output[output.index('FloatingPointError') :]
    for part in ('loss', 'iteration', 'learning rate 1e+06', 'gradient norm', 'train/00'):
        assert part in error, error
    for file in (tmp_path / 'run').glob('*.pth'):
        for key, value in torch.load(file, weights_only=True)['state_dict'].items():
            assert value.isfinite().all(), (file, key)


def test_last_finite_checkpoint_stays_if_the_next_would_not_be(
    config_file, uninterrupted, tmp_path
):
    last_of_second_epoch = 2 * ITERATIONS - 1
    code, output = train(
        config_file, tmp_path / 'run', options=SEED, lost_weights=last_of_second_epoch
    )
    assert code == 1
    assert 'FloatingPointError' in output
    assert [path.name for path in (tmp_path / 'run').glob('epoch_*.pth')] == ['epoch_1.pth']
    resume_and_compare(config_file, tmp_path / 'run', uninterrupted, output)


def train_ranks(config_file, work_dir, options=None, **faults_of_second):
    """Train on two ranks, the second with faults; exit codes and outputs."""
    options = {**SEED, 'train_dataloader.batch_size': 1, **(options or {})}
    faults = [{}, faults_of_second]
    ranks = [
        start(config_file, work_dir, options=options, rank=rank, **fault)
        for rank, fault in enumerate(faults)
    ]
    second = wait(ranks[1])
    first = wait(ranks[0], timeout=60)
    return [first, second], [log_file(work_dir, rank).read_text() for rank in range(2)]


def test_rank_whose_peer_dies_ends_and_says_why(config_file, tmp_path):
    codes, outputs = train_ranks(config_file, tmp_path / 'run', iteration=1)
    assert codes == [1, -signal.SIGKILL], outputs
    assert 'rank 0 of 2 lost another rank' in outputs[0], outputs[0]


def test_all_ranks_end_on_sigterm_to_one_and_one_rank_may_resume(config_file, tmp_path):
    codes, outputs = train_ranks(
        config_file, tmp_path / 'run', iteration=1, signal_number=int(signal.SIGTERM)
    )
    assert codes == [143, 143], outputs
    assert (tmp_path / 'run' / 'epoch_0_iter_2.pth').exists()
    code, output = train(config_file, tmp_path / 'run', resume=True)
    assert code == 0, output
    assert 'The checkpoint is of a run with 2 ranks, and this one has 1' in output

"""What a resumed run needs besides weights: its place in the epoch, its data, its folder."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Sampler

from mmdet_detnet.checkpoints import RUN_FILE
from mmdet_detnet.config import ConfigProblem
from mmdet_detnet.files import file_digest

# Of schedulers, what changes in every step; all else is as in the config.
CHANGING = {
    '_global_step',
    '_last_value',
    'best',
    'cooldown_counter',
    'last_step',
    'num_bad_epochs',
    'verbose',
}
NEW_RUN = 'To train by the config, start a new run with load_from.'
# Best score and number of validations without a better one, by the name of the metric.
EarlyStopping: TypeAlias = dict[str, tuple[float, int]]


class RemainingBatches:
    """A data loader without its first batches.

    They are loaded and dropped, so that workers draw the random numbers of an uninterrupted epoch;
    mmengine's iteration-based loop does the same on resume.

    Args:
        loader: The data loader.
        first: Number of batches to skip.
    """

    def __init__(self, loader: DataLoader, first: int) -> None:
        self.loader = loader
        self.first = first

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.loader), self.first, None)

    def __len__(self) -> int:
        return len(self.loader) - self.first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def whole_loader(runner: Runner) -> DataLoader:
    """Return the training data loader with all batches of an epoch."""
    loader = runner.train_dataloader
    return loader.loader if isinstance(loader, RemainingBatches) else loader


def skip_finished_batches(runner: Runner, epoch_length: int | None) -> None:
    """Skip the batches of an interrupted epoch that were already trained on.

    Does nothing in iteration-based training, where mmengine skips them.

    Args:
        runner: The resumed runner, before its first iteration.
        epoch_length: Number of batches of an epoch in the interrupted run; None if not known.
    """
    length = len(runner.train_dataloader)
    if not isinstance(runner.train_loop, EpochBasedTrainLoop) or not epoch_length:
        return
    done = runner.iter - runner.epoch * epoch_length
    if done == 0:
        return
    if length != epoch_length:
        runner.logger.warning(
            f'The epoch starts over: it had {epoch_length} iterations when it was interrupted, '
            f'and has {length} now.'
        )
        return
    runner.logger.info(f'Skipping {done} batches of the epoch that were already trained on.')
    runner.train_loop.dataloader = RemainingBatches(runner.train_dataloader, done)


def loop_position(runner: Runner) -> int:
    """Return the number of finished epochs, or of iterations in iteration-based training."""
    is_by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return runner.epoch if is_by_epoch else runner.iter


def is_validation_due(runner: Runner) -> bool:
    """Return whether the training loop validates at its present position, as it decides itself."""
    loop, position = runner.train_loop, loop_position(runner)
    if runner.val_loop is None or position < loop.val_begin:
        return False
    loop._decide_current_val_interval()
    is_by_epoch = isinstance(loop, EpochBasedTrainLoop)
    is_last = position == (loop.max_epochs if is_by_epoch else loop.max_iters)
    return position % loop.val_interval == 0 or is_last


def read_early_stopping(runner: Runner) -> EarlyStopping:
    """Read the state of early stopping, which mmengine does not save."""
    return {
        hook.monitor: (float(hook.best_score), hook.wait_count)
        for hook in runner.hooks
        if isinstance(hook, EarlyStoppingHook)
    }


def restore_early_stopping(runner: Runner, state: EarlyStopping) -> None:
    """Restore the state of early stopping, and stop if the interrupted run would have."""
    for hook in runner.hooks:
        if not isinstance(hook, EarlyStoppingHook) or hook.monitor not in state:
            continue
        hook.best_score, hook.wait_count = state[hook.monitor]
        is_better, threshold = hook.rule_map[hook.rule], hook.stopping_threshold
        reached = threshold is not None and is_better(hook.best_score, threshold)
        runner.train_loop.stop_training |= bool(reached) or hook.wait_count >= hook.patience


def digest_annotations(runner: Runner) -> dict[str, str]:
    """Return the SHA-256 of each annotation file of training and validation, by its path."""
    loaders = [runner.train_dataloader]
    if runner.val_loop is not None:
        loaders.append(runner.val_dataloader)
    files = {
        Path(file)
        for loader in loaders
        for dataset in walk_datasets(loader.dataset)
        if (file := getattr(dataset, 'ann_file', None))
    }
    return {str(file): file_digest(file) for file in sorted(files) if file.is_file()}


def find_sampler(loader: DataLoader) -> Sampler:
    """Find the sampler of single samples, even inside a batch sampler."""
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def walk_datasets(dataset: object) -> Iterator[object]:
    """List a dataset of mmengine, and those that it repeats or joins, at any depth."""
    yield dataset
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from walk_datasets(inner)


def compare_settings(runner: Runner, checkpoint: dict[str, Any]) -> str:
    """Say in one sentence how the saved optimizer and schedules differ from those of the config.

    mmengine goes on with the saved ones. The sentence is empty if they do not differ.

    Raises:
        ConfigProblem: If the optimizer is another one; torch would stop with a KeyError.
    """
    changes = _compare_optimizers(runner, checkpoint.get('optimizer', {}).get('param_groups', []))
    schedulers, states = runner.param_schedulers, checkpoint.get('param_schedulers', [])
    if isinstance(schedulers, list) and isinstance(states, list):
        changes += [
            f'{type(scheduler).__name__}.{_describe(key, old[key], new)}'
            for scheduler, old in zip(schedulers, states, strict=False)
            for key, new in scheduler.state_dict().items()
            if key in old.keys() - CHANGING and _plain(old[key]) != _plain(new)
        ]
        if len(schedulers) != len(states):
            changes.append(_describe('the number of schedules', len(states), len(schedulers)))
    if not changes:
        return ''
    return (
        'The optimizer and its schedule remain those of the interrupted run, not of the config: '
        f'{"; ".join(changes)}. {NEW_RUN}'
    )


def _compare_optimizers(runner: Runner, groups: Sequence[dict[str, Any]]) -> list[str]:
    changes = {}
    for old, new in zip(groups, getattr(runner.optim_wrapper, 'param_groups', []), strict=False):
        # What a schedule changes has an initial value, too.
        fixed = {key for key in old if f'initial_{key}' not in old and 'initial_' not in key}
        # Versions of torch differ in one direction only.
        if (surplus := sorted(fixed - new.keys())) and new.keys() - old.keys():
            raise ConfigProblem(
                f'The checkpoint is of another optimizer than the config: it has {surplus[0]}. '
                f'{NEW_RUN}'
            )
        for key in sorted(fixed & new.keys() - {'params', 'lr'}):
            if _plain(old[key]) != _plain(new[key]):
                changes[key] = _describe(key, old[key], new[key])
    return [*changes.values()]


def _describe(name: str, old: object, new: object) -> str:
    return f'{name} is {_plain(old)}, and {_plain(new)} in the config'


def _plain(value: object) -> object:
    """Undo what saving makes of containers."""
    if isinstance(value, dict):
        return dict(value)
    return [*value] if isinstance(value, list | tuple) else value


def checkpoint_folder(runner: Runner) -> Path:
    """Return the folder of a run's checkpoints, before mmengine's hook has set it to train."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    if not hooks or hooks[0].out_dir is None:
        return Path(runner.work_dir)
    return Path(hooks[0].out_dir, os.path.basename(runner.work_dir.rstrip(os.sep)))


def claim_folder(folder: Path, run: str) -> BinaryIO:
    """Claim the folder of a run's checkpoints, until the result is closed or the process ends.

    Args:
        folder: The folder.
        run: Id of the run, which is written there.

    Raises:
        ConfigProblem: If a run of another process has the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(os.open(folder / RUN_FILE, os.O_RDWR | os.O_CREAT, 0o644), 'r+b')
    try:
        # Unlike flock, it does not outlive this process in a data loader's worker.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise ConfigProblem(
            f'{folder}: another process is training in this folder. Wait for it, or name another '
            '--work-dir.'
        ) from error
    except OSError:
        pass  # a file system without locks
    # Our ids have the same length, so that one write replaces another; those of a stranger's
    # checkpoint may have any.
    line = f'{run}\n'.encode()
    os.pwrite(file.fileno(), line, 0)
    os.ftruncate(file.fileno(), len(line))
    os.fsync(file.fileno())
    return file

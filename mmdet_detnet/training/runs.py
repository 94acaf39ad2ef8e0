"""Train and test with a user's config, and find the checkpoint of its run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdet_detnet.arguments import check_choice, check_positive_integer
from mmdet_detnet.checkpoints import POINTER, read_last_run, read_run
from mmdet_detnet.config import load_config

from . import launch
from .launch import find_work_dir

__all__ = ['find_checkpoint', 'find_work_dir', 'test', 'train']

QUIET = 'runner_type=mmdet_detnet.QuietRunner'
PROGRESS = 'default_hooks.progress.type=mmdet_detnet.ProgressHook'
# Of a scheduler by epoch.
COUNTS_EPOCHS = {'T_max', 'begin', 'end', 'milestones', 'periods', 'step_size', 'total_steps'}
WARM_UPS = ('LinearLR', 'ConstantLR', 'Quadratic')
BY_HAND = 'Set all that counts epochs, such as train_cfg.max_epochs, by --cfg-options.'
SHOW = {
    'warnings': ['--cfg-options', QUIET],
    'progress': ['--cfg-options', QUIET, PROGRESS],
    'everything': [],
}


def find_checkpoint(work_dir: Path) -> Path:
    """Find the best checkpoint of a run, or the last one if none has been validated.

    A checkpoint of another run than the last one in the folder does not count.

    Raises:
        FileNotFoundError: If there is no checkpoint.
    """
    run = read_last_run(work_dir)
    best = sorted(work_dir.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    pointer = work_dir / POINTER
    last = Path(pointer.read_text().strip() if pointer.is_file() else '')
    # A copied run has its own files, and mmengine has noted the paths of the original.
    for file in (*best[::-1], work_dir / last.name, last):
        if file.is_file() and (not run or read_run(file) in (run, None)):
            return file
    raise FileNotFoundError(f'{work_dir} has no checkpoint: train first, or name a checkpoint.')


def train(
    config: Path,
    arguments: Sequence[str] = (),
    work_dir: Path | None = None,
    from_start: bool = False,
    show: str = 'progress',
    gpus: int | None = None,
    epochs: int | None = None,
    check_data: launch.DataCheck | None = None,
) -> Path:
    """Train, or resume an interrupted run; returns what :func:`find_checkpoint` finds.

    Args:
        config: The config.
        arguments: Further options of ``tools/train.py``.
        work_dir: Work directory; None for the config's.
        from_start: Whether to start over even if there are checkpoints.
        show: ``'progress'``, ``'warnings'`` only, or ``'everything'`` that mmengine logs.
        gpus: Number of GPUs of this machine, each with a process; None for one process.
        epochs: Number of epochs of a new run, to which the schedule is stretched; None for the
            config's.
        check_data: As for :func:`.launch.train`.
    """
    check_choice('train', 'show', show, SHOW)
    if epochs is not None:
        check_positive_integer('train', 'epochs', epochs)
        if any(each.startswith(('train_cfg.max_epochs=', 'param_scheduler')) for each in arguments):
            raise ValueError('--epochs sets train_cfg.max_epochs and param_scheduler itself.')
        changes = _change_epochs(load_config(config), epochs)
        new = (f'{key}={value}'.replace(' ', '') for key, value in changes.items())
        arguments = [*arguments, '--cfg-options', *new]
    folder = work_dir or find_work_dir(config)
    line = [str(config), *_add_work_dir(work_dir, arguments), *SHOW[show]]
    if (folder / POINTER).is_file() and not from_start:
        _check_planned_epochs(folder, epochs)
        print(f'resumes the run in {folder} (--from-start starts over)')
        line.insert(1, '--resume=auto')  # of two, the last counts: that of the arguments
    if gpus is None:
        launch.train(line, check_data)
    else:
        launch.train_on_ranks(gpus, line, check_data)
    return find_checkpoint(folder)


def _change_epochs(config: Config, epochs: int) -> dict[str, Any]:
    """Return the options for another number of epochs; the schedule is stretched with it."""
    old = (config.get('train_cfg') or {}).get('max_epochs')
    if old is None:
        raise ValueError('--epochs: the config counts iterations, or has no train_cfg.')
    schedulers = config.get('param_scheduler') or []
    by_key = {f'param_scheduler.{index}': each for index, each in enumerate(schedulers)}
    if isinstance(schedulers, dict):
        by_key = {'param_scheduler': schedulers}
    stretched = {
        f'{key}.{name}': value
        for key, scheduler in by_key.items()
        for name, value in _stretch(key, scheduler, old, epochs).items()
    }
    return {'train_cfg.max_epochs': epochs, **stretched}


def _stretch(key: str, scheduler: Mapping[str, Any], old: int, epochs: int) -> dict[str, Any]:
    if 'type' not in scheduler:
        raise ValueError(f'--epochs: {key} is of several optimizers. {BY_HAND}')
    if not scheduler.get('by_epoch', True):
        if not str(scheduler['type']).startswith(WARM_UPS):
            raise ValueError(f'--epochs: {key} counts iterations. {BY_HAND}')
        return {}
    changes: dict[str, Any] = {}
    for name in sorted(COUNTS_EPOCHS & scheduler.keys()):
        value = scheduler[name]
        if name == 'milestones':
            # At 0, the rate would be low from the start.
            changes[name] = [max(1, each * epochs // old) for each in value]
        elif value == old:
            changes[name] = epochs
        elif value:
            raise ValueError(f'--epochs: {key}.{name} is {value} of {old} epochs. {BY_HAND}')
    return changes


def _check_planned_epochs(folder: Path, epochs: int | None) -> None:
    """Raise ValueError if a resumed run, whose schedule remains, had another number of epochs."""
    configs = sorted(folder.glob('*/vis_data/config.py'))
    if epochs is None or not configs:
        return
    planned = load_config(configs[-1]).train_cfg.get('max_epochs')
    if planned != epochs:
        raise ValueError(
            f'--epochs {epochs}: the run in {folder}, which would be resumed, has a schedule of '
            f'{planned} epochs. Start over with --from-start, or name another --work-dir.'
        )


def _add_work_dir(work_dir: Path | None, arguments: Sequence[str]) -> list[str]:
    if any(each.startswith('work_dir=') for each in arguments):
        raise ValueError('--cfg-options work_dir: give --work-dir, to find the run again.')
    return [*([] if work_dir is None else ['--work-dir', str(work_dir)]), *arguments]


def test(
    config: Path,
    checkpoint: Path | None = None,
    arguments: Sequence[str] = (),
    work_dir: Path | None = None,
) -> dict[str, float]:
    """Evaluate, with mmengine's log in its file; returns metrics such as ``coco/bbox_mAP``.

    The arguments are those of :func:`train`; without a checkpoint, it takes the best of the run.
    """
    checkpoint = checkpoint or find_checkpoint(work_dir or find_work_dir(config))
    print(f'checkpoint: {checkpoint}')
    options = _add_work_dir(work_dir, arguments)
    return launch.test([str(config), str(checkpoint), *options, '--cfg-options', QUIET])

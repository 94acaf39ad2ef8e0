"""Execute the runs of a study in parallel, each in a process of its own: train, then test."""

import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from fcntl import LOCK_EX, LOCK_NB, flock
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import mmdet
import mmengine
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_detnet.checkpoints import find_newest
from mmdet_detnet.host import describe_operators
from mmdet_detnet.version import __version__

from .matches import evaluate
from .plan import Run, hash_config
from .result_files import Result, read_results, result_path, write_result

LOG = 'log.txt'
FINAL_SHARE = 0.1  # fraction of the last iterations whose mean is the final loss


def count_jobs() -> int:
    """Return the number of parallel runs: one per core, or one on a GPU."""
    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))


def execute(runs: Sequence[Run], folder: Path, jobs: int) -> None:
    """Execute runs without a result; resume interrupted ones and retry failed ones.

    If a run fails, its result says why, and the others continue. You can interrupt at any time:
    SIGTERM saves the current state, and after SIGKILL runs resume from the last epoch.

    Args:
        runs: The runs, in order.
        folder: Folder for ``results/``, and ``runs/`` with logs and checkpoints.
        jobs: Number of parallel runs.

    Raises:
        FileNotFoundError: If a config is missing.
        RuntimeError: If the folder is in use by another process.
        ValueError: If an option is wrong, or an existing result has other settings.
    """
    results = read_results(folder)
    waiting = [run for run in runs if not _is_finished(run, results.get(run.name))]
    for run in {(each.detector, each.data_set): each for each in waiting}.values():
        run.load_config()  # finds errors now, not hours later
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    running: dict[BaseProcess, Run] = {}
    with _lock(folder):
        try:
            while waiting or running:
                while len(running) < jobs and (ready := _find_ready(waiting, running.values())):
                    waiting.remove(ready)
                    running[_start(ready, folder, threads)] = ready
                connection.wait([process.sentinel for process in running])
                for process in [each for each in running if not each.is_alive()]:
                    _note(running.pop(process), process.exitcode, folder)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.join()


def _is_finished(run: Run, result: Result | None) -> bool:
    """Tell whether a run is finished; failed runs are not."""
    if result is None or 'failure' in result:
        return False
    if result['config_hash'] != hash_config(run.load_config()):
        raise ValueError(
            f'the result of {run.name} was made with other settings than the study has now: move '
            'it away to make the run again, or name another folder.'
        )
    return True


def _find_ready(waiting: Sequence[Run], running: Iterable[Run]) -> Run | None:
    """Find the first run whose weights are trained."""
    untrained = {run.name for run in (*waiting, *running)}
    return next((run for run in waiting if run.source not in untrained), None)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('w') as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise RuntimeError(f'{folder} is in use by another process.') from error
        yield


def _start(run: Run, folder: Path, threads: int) -> BaseProcess:
    print(f'{run.name}: started', flush=True)
    process = get_context('spawn').Process(target=_execute_alone, args=(run, folder, threads))
    process.start()
    return process


def _execute_alone(run: Run, folder: Path, threads: int) -> None:
    """Execute one run, as the main function of its process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_folder = folder / 'runs' / run.name
    run_folder.mkdir(parents=True, exist_ok=True)
    log = os.open(run_folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(threads)
    write_result(result_path(run, folder), train_and_test(run, run_folder))


def _end_with_parent() -> None:
    """Exit with the study's process, so that the run is not executed twice."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _note(run: Run, exit_code: int | None, folder: Path) -> None:
    """Print how a run ended; a failure is a result, too."""
    if exit_code == 0:
        print(f'{run.name}: done', flush=True)
        return
    log = (folder / 'runs' / run.name / LOG).read_text(errors='replace').strip().splitlines()
    failure = f'exit status {exit_code}: {log[-1] if log else "no output"}'
    print(f'{run.name}: FAILED, {failure}', flush=True)
    write_result(result_path(run, folder), {**_describe_run(run), 'failure': failure})


class _CPUTimeHook(Hook):
    """Saves the CPU time in checkpoints, so that it survives an interruption."""

    earlier = 0.0

    def before_train(self, runner: Runner) -> None:
        if runner.iter:  # resumed; runs of one second and process share their message hub
            self.earlier = runner.message_hub.get_info('cpu_seconds', 0.0)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        runner.message_hub.update_info('cpu_seconds', self.measure())

    def measure(self) -> float:
        return self.earlier + time.process_time()


def train_and_test(run: Run, folder: Path) -> Result:
    """Train a detector, resuming if interrupted, and test the last weights.

    Args:
        run: The run.
        folder: Folder for logs, the newest checkpoint and the detections, next to the one of the
            run that trains the weights.

    Raises:
        FileNotFoundError: If the run that trains the weights did not finish.
        ValueError: If the config or its options are wrong.
    """
    cfg = run.load_config()
    config_hash = hash_config(cfg)
    _prepare(cfg, run.seed, folder)
    _resume(cfg, folder, folder.with_name(run.source) if run.source else None)
    runner = Runner.from_cfg(cfg)
    cpu_time = _CPUTimeHook()
    runner.register_hook(cpu_time)
    runner.train()
    start = time.perf_counter()
    runner.test()
    # Both are in checkpoints, so they survive an interruption.
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    seconds, _ = runner.message_hub.get_scalar('train/time').data
    last = max(1, round(len(losses) * FINAL_SHARE))
    classes = runner.test_dataloader.dataset.metainfo['classes']
    return {
        **_describe_run(run),
        'config_hash': config_hash,
        'iterations': runner.iter,
        'epochs': runner.epoch,
        'final_loss': float(losses[-last:].mean()),
        'train_seconds': round(float(seconds.sum()), 1),
        'test_seconds': round(time.perf_counter() - start, 2),
        'cpu_seconds': round(cpu_time.measure(), 1),
        **evaluate(cfg.test_evaluator.ann_file, folder / 'detections.bbox.json', classes),
        **_describe_place(),
    }


def _prepare(cfg: Config, seed: int, folder: Path) -> None:
    """Pair the run with others of its seed, and disable validation."""
    cfg.work_dir = str(folder)
    cfg.randomness = dict(seed=seed)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    hooks = cfg.default_hooks
    hooks.sampler_seed = dict(type='mmdet_detnet.SeedHook')
    hooks.checkpoint.update(type='mmdet_detnet.DurableCheckpointHook', max_keep_ckpts=1)
    hooks.checkpoint.pop('save_best', None)
    if isinstance(cfg.test_evaluator, list):
        (cfg.test_evaluator,) = cfg.test_evaluator
    cfg.test_evaluator.update(format_only=True, outfile_prefix=str(folder / 'detections'))


def _resume(cfg: Config, folder: Path, source: Path | None) -> None:
    """Resume if interrupted; from the last checkpoint of the source, no epoch is left."""
    unit = 'epoch' if cfg.default_hooks.checkpoint.get('by_epoch', True) else 'iter'
    checkpoint, _ = find_newest(folder, f'{unit}_{{}}.pth')
    if source:
        checkpoint = source / f'{unit}_{cfg.train_cfg.get(f"max_{unit}s")}.pth'
        if not checkpoint.exists():
            raise FileNotFoundError(f'{checkpoint} is missing; its weights were to be tested.')
    if checkpoint:
        cfg.resume, cfg.load_from = True, str(checkpoint)


def _describe_run(run: Run) -> Result:
    keys = ('detector', 'data_set', 'seed', 'config', 'options')
    return {key: getattr(run, key) for key in keys}


def _describe_place() -> Result:
    has_gpu = torch.cuda.is_available()
    return {
        'date': date.today().isoformat(),
        'device': torch.cuda.get_device_name() if has_gpu else f'{platform.machine()} CPU',
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'versions': {
            'python': platform.python_version(),
            'torch': torch.__version__,
            'mmdet': mmdet.__version__,
            'mmengine': mmengine.__version__,
            'mmdet_detnet': __version__,
            'operators': describe_operators(),
        },
    }

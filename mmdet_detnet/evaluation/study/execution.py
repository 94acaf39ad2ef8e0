"""Execute the runs of a study in parallel, each in a separate process."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from .plan import Run, hash_config
from .result_files import Result, read_results, result_path, write_result
from .training import describe_run, train_and_test

LOG = 'log.txt'


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
    write_result(result_path(run, folder), {**describe_run(run), 'failure': failure})

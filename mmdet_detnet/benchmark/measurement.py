"""Measure the rows of a comparison in turn: memory, then inference, its split and training."""

import gc
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.device import get_device
from tqdm import tqdm

from .comparisons import Entry, Workload
from .parts import count_gmacs, wait_for
from .results import Row
from .timed_networks import NETWORKS, TimedNetwork, build_without_weights, load_with_options

Result = TypeVar('Result')
KIBIBYTE, MEBIBYTE = 2**10, 2**20
# Processes that use a core, on average over a minute, besides this one at its start.
BUSY = 0.5
SMALLER = 'take a smaller batch, height or width'


@dataclass(frozen=True)
class Rounds:
    """Number of runs, and what is measured.

    Attributes:
        timed: Number of timed runs.
        warm_up: Number of untimed runs before.
        training: Whether to measure training steps.
        split: Whether to split inference into parts.
        memory: Whether to measure peak memory.
    """

    timed: int = 10
    warm_up: int = 2
    training: bool = True
    split: bool = True
    memory: bool = True

    def actions(self) -> dict[str, int]:
        """List the actions to time, each with its number of untimed runs."""
        split = {'parts': 0} if self.split else {}  # follows inference and needs no warm-up
        training = {'train': self.warm_up} if self.training else {}
        return {'predict': self.warm_up, **split, **training}


def compare(
    configs: Sequence[str | Entry],
    workload: Workload = Workload(),  # noqa: B008
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
) -> list[Row]:
    """Measure detectors in turn. If one fails, the others continue.

    Args:
        configs: Paths of configs, ``package::folder/file.py``, paths among this package's, or
            entries; the last is the reference.
        workload: Images, and numbers of scores above the threshold.
        rounds: Number of runs, and what is measured.
        device: Device to measure on; by default a GPU if there is one.

    Returns:
        One row per detector, in the given order.

    Examples:
        >>> rows = compare(
        ...     ['detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
        ...      'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'],
        ...     Workload(height=320, width=480),
        ...     Rounds(timed=3, training=False),
        ... )
        >>> print(format_rows(rows))
    """
    rows = make_rows(configs, workload)
    measure(rows, rounds, device)
    return rows


def make_rows(configs: Sequence[str | Entry], workload: Workload) -> list[Row]:
    """Make a row for each config, with its parameters and multiply-adds, to be measured."""
    entries = [Entry(each) if isinstance(each, str) else each for each in configs]
    rows = [Row(entry, workload) for entry in entries]
    for row in rows:
        with noting_failure(row):
            kind = row.entry.kind
            detector = build_without_weights(load_with_options(row.entry.config))
            counted = detector if kind == 'detector' else getattr(detector, kind)
            row.parameters = sum(each.numel() for each in counted.parameters())
            row.gmacs = count_gmacs(detector, workload.height, workload.width, kind)
    return rows


def warn_if_busy() -> None:
    """Warn if other programs use the CPU. Call it before anything is measured."""
    load = os.getloadavg()[0]
    if load > BUSY:
        warnings.warn(
            f'the load average is {load:.1f}: other programs use the CPU. Times will be too long, '
            'and ratios less certain.',
            stacklevel=2,
        )


def measure(
    rows: Sequence[Row],
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
    after_round: Callable[[], object] = lambda: None,
) -> None:
    """Measure rows in turn, with a progress bar. If interrupted, they have all finished rounds.

    Args:
        rows: Rows of one workload; the last is the reference.
        rounds: Number of runs, and what is measured.
        device: Device to measure on; by default a GPU if there is one.
        after_round: Called whenever there are new results.
    """
    device = torch.device(device or get_device())
    # Random weights give denormal numbers, which are a hundred times slower on a CPU.
    torch.set_flush_denormal(True)
    working = [row for row in rows if not row.failure]
    total = len(working) * rounds.memory + sum(
        warm_up + rounds.timed
        for row in working
        for action, warm_up in rounds.actions().items()
        if action in NETWORKS[row.entry.kind].actions
    )

    def finish_round() -> None:
        for row in rows:
            row.compare_with(rows[-1])
        after_round()

    # Outside a terminal, a line a minute.
    interval = 0.1 if sys.stderr.isatty() else 60
    with tqdm(total=total, desc=str(rows[0].workload), mininterval=interval) as bar:
        for row in working if rounds.memory else ():
            with noting_failure(row):
                given = row.entry, row.workload, device, rounds.training
                if torch.device(device).type == 'cuda':
                    row.predict_mib, row.train_mib = measure_memory(*given)
                else:  # resident memory is the whole process's
                    row.predict_mib, row.train_mib = run_alone(measure_memory, *given)
            bar.update()
            finish_round()
        networks = _build(rows, device)
        for action in rounds.actions():
            chosen = [
                (row, network)
                for row, network in networks
                if not row.failure and action in network.actions
            ]
            for _ in _time(action, chosen, rounds, device, bar):
                finish_round()


def _build(rows: Sequence[Row], device: torch.device) -> list[tuple[Row, TimedNetwork]]:
    """Build rows that have not failed; the reference first, whose weights the others share."""
    networks: list[tuple[Row, TimedNetwork]] = []
    reference = None
    for row in reversed([row for row in rows if not row.failure]):
        with noting_failure(row):
            network = NETWORKS[row.entry.kind](row.entry, row.workload, device, reference)
            row.passing = network.passing
            networks.insert(0, (row, network))
            reference = network if row is rows[-1] else reference
    return networks


def _time(
    action: str,
    chosen: Sequence[tuple[Row, TimedNetwork]],
    rounds: Rounds,
    device: torch.device,
    bar: tqdm,
) -> Iterator[None]:
    parts: list[dict[str, float]] = [{} for _ in chosen]

    def run(index: int) -> None:
        row, network = chosen[index]
        bar.set_postfix_str(f'{action} of {row.entry.title}', refresh=False)
        if not row.failure:
            with noting_failure(row):
                parts[index] = getattr(network, action)() or {}
        bar.update()

    runs = [partial(run, index) for index in range(len(chosen))]
    warm_up = rounds.actions()[action]
    for seconds in time_in_turn(runs, rounds.timed, warm_up, device):
        for (row, _), of_row, of_parts in zip(chosen, seconds, parts, strict=True):
            row.add_round(action, of_row, of_parts)
        yield


def time_in_turn(
    actions: Sequence[Callable[[], object]], rounds: int, warm_up: int, device: torch.device
) -> Iterator[list[float]]:
    """Run A B A B ..., so that changes in the machine's speed affect all actions.

    Args:
        actions: Functions to time.
        rounds: Number of timed runs of each action, after ``warm_up`` untimed ones.
        warm_up: Number of untimed runs.
        device: Device of the actions; a GPU is synchronized before and after each.

    Yields:
        The seconds of all actions, after each timed round.
    """
    for number in range(-warm_up, rounds):
        seconds = []
        for action in actions:
            wait_for(device)
            start = time.perf_counter()
            action()
            wait_for(device)
            seconds.append(time.perf_counter() - start)
        if number >= 0:
            yield seconds


def measure_memory(
    entry: Entry, workload: Workload, device: torch.device, train: bool
) -> tuple[list[float], list[float]]:
    """Measure the peak memory of inference and of a subsequent training step, both in MiB."""
    read_peak = watch_memory(device)
    network: Any = NETWORKS[entry.kind](entry, workload, device)
    network.predict()
    predicting = read_peak()
    if not train or 'train' not in network.actions:
        return [predicting], []
    network.train()
    return [predicting], [read_peak()]


def watch_memory(device: torch.device) -> Callable[[], float]:
    """Return what reads the peak memory from now on, in MiB.

    On a GPU, that is the memory allocated by torch; on the CPU, the growth of the process's
    resident memory.
    """
    if device.type == 'cuda':
        gc.collect()  # what was measured before
        torch.cuda.reset_peak_memory_stats(device)
    start = _read_memory('VmRSS')

    def read_peak() -> float:
        if device.type == 'cuda':
            return torch.cuda.max_memory_allocated(device) / MEBIBYTE
        return (_read_memory('VmHWM') - start) / MEBIBYTE

    return read_peak


def _read_memory(field: str) -> int:
    """Read a size from /proc; getrusage would include the parent's memory."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * KIBIBYTE


def run_alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a fresh process, to measure only its memory."""
    context = multiprocessing.get_context('spawn')
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        result = pool.submit(function, *arguments)
        try:
            return result.result()
        except KeyboardInterrupt:
            # Otherwise the pool would wait until the function has finished.
            for process in set(multiprocessing.active_children()) - set(others):
                process.kill()
            raise


@contextmanager
def noting_failure(row: Row) -> Iterator[None]:
    """Note an error in the row instead of ending the run."""
    try:
        yield
    except Exception as error:
        row.failure = explain(error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def explain(error: Exception) -> str:
    """Describe an error for the user of the benchmark."""
    # str() of a KeyError quotes its message.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = next(iter(message.strip().splitlines()), '').rstrip('.')
    out_of_memory = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    if out_of_memory or "can't allocate memory" in message:
        return f'out of memory: {SMALLER}.'
    if isinstance(error, BrokenProcessPool):
        return f'the process that measures memory was killed, possibly out of memory: {SMALLER}.'
    return f'{type(error).__name__}: {text}.' if text else f'{type(error).__name__}.'

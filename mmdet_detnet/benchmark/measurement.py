"""Measure the rows of a comparison in turn: memory, then inference, its split and training."""

import gc
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.device import get_device
from torch import nn
from tqdm import tqdm

from .comparisons import Entry, Workload
from .parts import count_gmacs, wait_for
from .results import Row
from .timed_networks import NETWORKS, TimedNetwork, build_without_weights, load_with_options

Result = TypeVar('Result')
MEBIBYTE = 2**20
# Processes that use a core, on average over a minute, besides this one at its start.
BUSY = 0.5
SMALLER = 'take a smaller batch, height or width'


@dataclass(frozen=True)
class Rounds:
    """Number of runs, and what is measured."""

    timed: int = 10
    warm_up: int = 2  # untimed runs before
    training: bool = True
    split: bool = True  # of inference into parts
    memory: bool = True  # at its peak


def compare(
    configs: Sequence[str | Entry],
    workload: Workload = Workload(),  # noqa: B008
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
) -> list[Row]:
    """Measure detectors in turn, on a GPU if there is one. If one fails, the others continue.

    Configs are named as in :class:`Entry`, and the last is the reference. Returns a row for each. A
    script calls this below ``if __name__ == '__main__':``, as memory has processes of its own.

    Examples:
        >>> ours, stock = 'ours.py', 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
        >>> rows = compare([ours, stock], Workload(height=320, width=480), Rounds(timed=3))
        >>> print(format_rows(rows))
    """
    rows = make_rows(configs, workload)
    measure(rows, rounds, device)
    return rows


def make_rows(configs: Sequence[str | Entry], workload: Workload) -> list[Row]:
    """Make a row for each config, with its parameters and multiply-adds, to be measured.

    A row lacks the multiply-adds that shapes alone do not tell, such as those of DETR and Swin. If
    its config is wrong, :func:`measure` notes why.
    """
    entries = [Entry(each) if isinstance(each, str) else each for each in configs]
    rows = [Row(entry, workload) for entry in entries]
    for row in rows:
        with suppress(Exception):
            _count_row(row)
    return rows


def _count_row(row: Row) -> None:
    kind = row.entry.kind
    detector = build_without_weights(load_with_options(row.entry.config))
    counted = detector if kind == 'detector' else getattr(detector, kind)
    row.parameters = _count_parameters(counted)
    row.gmacs = count_gmacs(detector, row.workload.height, row.workload.width, kind)


def _count_parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def warn_if_busy() -> None:
    """Warn if other programs use the CPU. Call it before anything is measured."""
    load = os.getloadavg()[0]
    if load > BUSY:
        warnings.warn(
            f'the load average is {load:.1f}: if other programs still use the CPU, times will be '
            'too long, and ratios less certain.',
            stacklevel=2,
        )


def measure(
    rows: Sequence[Row],
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
) -> None:
    """Measure rows in turn, the reference last. If interrupted, they have all finished rounds."""
    place = torch.device(device or get_device())
    # Random weights give denormal numbers, which are a hundred times slower on a CPU.
    torch.set_flush_denormal(True)
    for row in rows if rounds.memory else ():
        given = row.entry, row.workload, place, rounds.training
        # On a CPU, resident memory is the whole process's.
        call: Callable[..., Any] = measure_memory
        if place.type == 'cpu':
            call = partial(run_alone, measure_memory)
        if peaks := attempt(row, call, *given):
            row.predict_mib, row.train_mib = peaks
    networks = _build(rows, place)
    _time('predict', networks, rounds, place)
    if rounds.split:
        # These rounds follow inference, so they need no warm-up.
        _time('parts', networks, replace(rounds, warm_up=0), place)
    if rounds.training:
        _time('train', networks, rounds, place)


def _build(rows: Sequence[Row], device: torch.device) -> list[tuple[Row, TimedNetwork]]:
    """Build rows that have not failed; the reference first, whose weights the others share."""
    networks: list[tuple[Row, TimedNetwork]] = []
    reference = None
    for row in reversed(rows):
        build = NETWORKS[row.entry.kind]
        if network := attempt(row, build, row.entry, row.workload, device, reference):
            networks.insert(0, (row, network))
            reference = network if row is rows[-1] else reference
            row.parameters = _count_parameters(network.network)
    return networks


def _time(
    action: str, networks: Sequence[tuple[Row, TimedNetwork]], rounds: Rounds, device: torch.device
) -> None:
    """Add the rounds of an action to the rows of the networks that have it."""
    chosen = [(row, network) for row, network in networks if action in network.actions]
    turns = time_in_turn(
        [partial(_run, action, row, network) for row, network in chosen],
        rounds.timed,
        rounds.warm_up,
        device,
    )
    # Without a terminal, there is no bar.
    for seconds in tqdm(turns, action, total=rounds.timed, disable=None):
        for (row, _), of_row in zip(chosen, seconds, strict=True):
            if not row.failure and action != 'parts':
                getattr(row, f'{action}_seconds').append(of_row)


def _run(action: str, row: Row, network: TimedNetwork) -> None:
    for part, seconds in (attempt(row, getattr(network, action)) or {}).items():
        row.parts.setdefault(part, []).append(seconds)


def time_in_turn(
    actions: Sequence[Callable[[], object]], rounds: int, warm_up: int, device: torch.device
) -> Iterator[list[float]]:
    """Run A B A B ..., so that changes in the machine's speed affect all actions.

    Yields:
        The seconds of all actions, after each round but the first ``warm_up`` ones.
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
        return lambda: torch.cuda.max_memory_allocated(device) / MEBIBYTE
    start = _read_memory('VmRSS')
    return lambda: (_read_memory('VmHWM') - start) / MEBIBYTE


def _read_memory(field: str) -> int:
    """Read a size from /proc; getrusage would include the parent's memory."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def run_alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a fresh process, to measure only its memory."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def attempt(row: Row, action: Callable[..., Result], *arguments: object) -> Result | None:
    """Call a function unless the row has failed; an error is noted there, and ends no run."""
    if row.failure:
        return None
    try:
        return action(*arguments)
    except Exception as error:
        row.failure = explain(error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


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

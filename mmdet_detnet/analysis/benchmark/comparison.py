"""One comparison: several entries under one workload, the last of them the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .counts import build_without_weights, count_gmacs, count_parameters
from .detectors import load_config
from .failures import noting_failure
from .memory import PeakMemory, run_alone
from .roi_heads import RoIHeadSubject
from .rows import Row, compare_rows
from .subjects import BackboneSubject, DetectorSubject, MatrixProduct, Subject, matrix_size
from .timing import time_in_turn
from .workload import Entry, Workload

SUBJECTS = {
    'backbone': BackboneSubject,
    'detector': DetectorSubject,
    'matmul': MatrixProduct,
    'roi_head': RoIHeadSubject,
}


@dataclass
class Rounds:
    """How often things are done.

    Attributes:
        timed: How often each action is timed.
        warm_up: How often it runs before.
        training: Whether training steps are measured too.
        progress: Called after every action.
    """

    timed: int = 10
    warm_up: int = 2
    training: bool = True
    progress: Callable[[], None] = lambda: None

    def steps(self, entries: Sequence[Entry]) -> int:
        """Count the calls of ``progress`` in a comparison without failures.

        Args:
            entries: What is compared.

        Returns:
            Their number.
        """
        actions = [action for entry in entries for action in self.actions(entry.kind)]
        return sum(self.timed + self.before(action) for action in actions)

    def actions(self, kind: str) -> list[str]:
        """List what is done with a subject.

        Args:
            kind: Of its entry.

        Returns:
            Names of its methods.
        """
        actions = SUBJECTS[kind].actions
        return [action for action in actions if self.training or action != 'train']

    def before(self, action: str) -> int:
        """Say how often an action runs untimed.

        Args:
            action: Its name.

        Returns:
            The number; the split of inference follows inference, and needs no warm-up.
        """
        return 0 if action == 'parts' else self.warm_up


def compare(
    entries: Sequence[Entry], workload: Workload, device: torch.device, rounds: Rounds
) -> list[Row]:
    """Measure the entries in turn. One that fails leaves the others alone.

    Args:
        entries: The last is the reference.
        workload: Images, numbers of candidates and survivors.
        device: Where they run.
        rounds: How often each action runs.

    Returns:
        A row for each entry, in the order given.
    """
    # Random weights make numbers so small that a CPU handles them a hundred times slower.
    torch.set_flush_denormal(True)
    rows = [_start_row(entry, workload) for entry in entries]
    for row in rows:
        with noting_failure(row):
            _count(row, workload, device)
            _measure_memory_alone(row, workload, device, rounds)
    subjects = _build(rows, workload, device)
    for action in ('predict', 'parts', 'train'):
        _time(action, rows, subjects, device, rounds)
    for row in rows:
        row.ratios = compare_rows(row, rows[-1])
    return rows


def _start_row(entry: Entry, workload: Workload) -> Row:
    return Row(entry.title, entry, images=1 if entry.kind == 'matmul' else workload.batch)


def _count(row: Row, workload: Workload, device: torch.device) -> None:
    kind = row.entry.kind
    if kind == 'matmul':
        row.gmacs = {'matrix product': matrix_size(device) ** 3 / 1e9}
        return
    detector = build_without_weights(load_config(row.entry.config))
    network = detector if kind == 'detector' else getattr(detector, kind)
    row.parameters = count_parameters(network)
    row.trained_parameters = count_parameters(network, trained_only=True)
    row.gmacs = count_gmacs(detector, workload.height, workload.width, kind)


def _measure_memory_alone(
    row: Row, workload: Workload, device: torch.device, rounds: Rounds
) -> None:
    if row.entry.kind == 'matmul':
        return
    train = 'train' in rounds.actions(row.entry.kind)
    peaks = run_alone(measure_memory, row.entry, workload, device, train)
    row.predict_mib, row.train_mib = peaks


def measure_memory(
    entry: Entry, workload: Workload, device: torch.device, train: bool
) -> tuple[float, float | None]:
    """Measure the peak memory of inference, and of a training step after it.

    Args:
        entry: What to measure.
        workload: Its input.
        device: Where it runs.
        train: Whether it is trained.

    Returns:
        Both peaks, in MiB; none for what is not trained.
    """
    peak = PeakMemory(device)
    subject = SUBJECTS[entry.kind](entry, workload, device)
    subject.prepare(None)
    subject.predict()
    predicting = peak.mebibytes()
    if not train:
        return predicting, None
    subject.train()
    return predicting, peak.mebibytes()


def _build(rows: list[Row], workload: Workload, device: torch.device) -> list[Subject | None]:
    """Build what has not failed; the reference first, since the others take its weights."""
    subjects: list[Subject | None] = [None] * len(rows)
    for index in reversed(range(len(rows))):
        row = rows[index]
        if row.failure:
            continue
        with noting_failure(row):
            subject = SUBJECTS[row.entry.kind](row.entry, workload, device)
            subject.prepare(subjects[-1])
            row.proposals, row.survivors = subject.proposals, subject.survivors
            subjects[index] = subject
    return subjects


def _time(
    action: str,
    rows: list[Row],
    subjects: list[Subject | None],
    device: torch.device,
    rounds: Rounds,
) -> None:
    timed = [
        (row, subject)
        for row, subject in zip(rows, subjects, strict=True)
        if not row.failure and action in rounds.actions(row.entry.kind)
    ]
    splits: list[list[dict[str, float]]] = [[] for _ in timed]
    actions = [
        _guarded(row, getattr(subject, action), split)
        for (row, subject), split in zip(timed, splits, strict=True)
    ]
    seconds = time_in_turn(actions, rounds.timed, rounds.before(action), device, rounds.progress)
    for (row, _), series, split in zip(timed, seconds, splits, strict=True):
        if row.failure:
            continue
        if action == 'parts':
            row.parts = {part: [times[part] for times in split] for part in split[0]}
        else:
            setattr(row, f'{action}_seconds', series)


def _guarded(row: Row, action: Callable[[], object], results: list) -> Callable[[], None]:
    """Keep the action's results, and stop calling it once it has failed."""

    def run() -> None:
        if not row.failure:
            with noting_failure(row):
                results.append(action())

    return run

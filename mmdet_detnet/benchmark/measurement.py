"""Fill the rows of a comparison: memory first, then the times of all actions in turn."""

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

import torch

from .failures import noting_failure
from .memory import PeakMemory, run_alone
from .progress import Progress
from .rows import Row
from .subjects import SUBJECTS, Subject
from .timing import time_in_turn
from .workload import Entry, Rounds, Workload

ACTIONS = {'predict': 'inference', 'parts': 'split of inference', 'train': 'training step'}


class Measurement:
    """Measures rows in turn and reports progress.

    Args:
        rows: Rows of one workload; the last is the reference. They are filled in place, a round of
            all at once.
        rounds: Number of runs of each action.
        device: Device to measure on.
        after_round: Called whenever there are new results.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        rounds: Rounds,
        device: torch.device,
        after_round: Callable[[], object],
    ) -> None:
        self.rows, self.rounds, self.device = rows, rounds, device
        self.after_round = after_round
        self.progress = Progress(sum(map(self._count_steps, rows)), str(rows[0].workload))

    def __enter__(self) -> 'Measurement':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.close()

    def measure_memory(self) -> None:
        """Measure the peak memory of each row, except on CUDA in a separate process."""
        measure: Callable[..., tuple[list[float], list[float]]] = measure_memory
        if self.device.type != 'cuda':  # resident memory is the whole process's
            measure = partial(run_alone, measure_memory)
        for row in self._working() if self.rounds.memory else ():
            with noting_failure(row):
                row.predict_mib, row.train_mib = measure(
                    row.entry, row.workload, self.device, self.rounds.training
                )
            figures = ', '.join(f'{peak:.0f} MiB' for peak in row.predict_mib + row.train_mib)
            self._report('memory', row, figures)
            self._finish_round()

    def measure_times(self) -> None:
        """Time inference of all rows, then its split, then training."""
        subjects = self._build()
        actions = {
            action: number
            for action, number in self.rounds.actions(tuple(ACTIONS)).items()
            if any(action in subject.actions for _, subject in subjects)
        }
        budget = self.rounds.seconds and self.rounds.seconds / len(actions)
        for action, number in actions.items():
            chosen = [
                (row, subject)
                for row, subject in subjects
                if not row.failure and action in subject.actions
            ]
            self._time(action, chosen, number - self.rounds.timed, budget)

    def _time(
        self,
        action: str,
        chosen: list[tuple[Row, Subject]],
        warm_up: int,
        budget: float | None,
    ) -> None:
        results: list[dict[str, float]] = [{} for _ in chosen]

        def run(index: int) -> None:
            row, subject = chosen[index]
            if not row.failure:
                with noting_failure(row):
                    results[index] = getattr(subject, action)() or {}

        def report(index: int, number: int, seconds: float) -> None:
            what = f'{ACTIONS[action]}, {f"round {number}" if number > 0 else "warm-up"}'
            self._report(what, chosen[index][0], f'{seconds:.3f} s')

        runs = [partial(run, index) for index in range(len(chosen))]
        timed = self.rounds.timed
        for round_seconds in time_in_turn(runs, timed, warm_up, self.device, report, budget):
            for (row, _), seconds, parts in zip(chosen, round_seconds, results, strict=True):
                _note(row, action, seconds, parts)
            self._finish_round()

    def _build(self) -> list[tuple[Row, Subject]]:
        """Build rows that have not failed; the reference first, whose weights the others share."""
        subjects: list[tuple[Row, Subject]] = []
        reference = None
        for row in reversed(self._working()):
            with noting_failure(row):
                subject = SUBJECTS[row.entry.kind](row.entry, row.workload, self.device, reference)
                row.proposals, row.survivors = subject.proposals, subject.survivors
                subjects.insert(0, (row, subject))
                reference = subject if row is self.rows[-1] else reference
        return subjects

    def _working(self) -> list[Row]:
        return [row for row in self.rows if not row.failure]

    def _count_steps(self, row: Row) -> int:
        if row.failure:
            return 0
        actions = self.rounds.actions(SUBJECTS[row.entry.kind].actions)
        return self.rounds.memory + sum(actions.values())

    def _report(self, what: str, row: Row, result: str) -> None:
        self.progress.advance(f'{what}, {row.entry.title}', row.failure or result)

    def _finish_round(self) -> None:
        for row in self.rows:
            row.compare_with(self.rows[-1])
        self.after_round()


def measure_memory(
    entry: Entry, workload: Workload, device: torch.device, train: bool
) -> tuple[list[float], list[float]]:
    """Measure the peak memory of inference and of a subsequent training step, both in MiB."""
    peak = PeakMemory(device)
    subject = SUBJECTS[entry.kind](entry, workload, device)
    subject.predict()
    predicting = peak.mebibytes()
    if not train or 'train' not in subject.actions:
        return [predicting], []
    subject.train()
    return [predicting], [peak.mebibytes()]


def _note(row: Row, action: str, seconds: float, parts: dict[str, float]) -> None:
    """Note a round; if an action fails in a later round, all its rounds are dropped."""
    for part, part_seconds in parts.items():
        row.parts.setdefault(part, []).append(part_seconds)
    if action != 'parts':
        getattr(row, f'{action}_seconds').append(seconds)
    if row.failure:
        row.forget(action)

"""One comparison: several entries under one workload, the last of them the reference."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch
from tqdm import tqdm

from .building import load_config
from .counts import build_without_weights, count_gmacs, count_parameters
from .memory import PeakMemory, run_alone
from .rows import Row
from .subjects import SUBJECTS, Subject
from .timing import time_in_turn
from .workload import Entry, Rounds, Workload

SMALLER = 'take a smaller batch, height or width'


def compare(
    configs: Sequence[str | Entry],
    workload: Workload = Workload(),  # noqa: B008
    rounds: Rounds = Rounds(),  # noqa: B008
    device: str | torch.device | None = None,
) -> list[Row]:
    """Measure detectors in turn. One that fails leaves the others alone.

    Args:
        configs: Paths of configs, ``package::folder/file.py``, paths among this package's, or
            entries; the last is the reference.
        workload: Images, numbers of candidates and survivors.
        rounds: How often each action runs.
        device: Where they run; a GPU if there is one, by default.

    Returns:
        A row for each, in the order given.

    Example:
        >>> rows = compare(
        ...     ['detnet/faster-rcnn_detnet59_fpn_1x_coco.py',
        ...      'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'],
        ...     Workload(height=320, width=480),
        ...     Rounds(timed=3, training=False),
        ... )
        >>> print(format_rows(rows))
    """
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    # Random weights make numbers so small that a CPU handles them a hundred times slower.
    torch.set_flush_denormal(True)
    entries = [Entry(each) if isinstance(each, str) else each for each in configs]
    rows = [Row(entry, workload) for entry in entries]
    for row in rows:
        with noting_failure(row):
            _count(row)
            row.predict_mib, row.train_mib = run_alone(
                measure_memory, row.entry, workload, device, rounds.training
            )
    subjects = _build(rows, device)
    steps = {
        'predict': rounds.warm_up + rounds.timed,
        'parts': rounds.timed,  # they follow inference, and need no warm-up
        'train': (rounds.warm_up + rounds.timed) * rounds.training,
    }
    total = sum(steps[action] for subject in subjects.values() for action in subject.actions)
    with tqdm(total=total, desc=str(workload)) as bar:
        for action, number in steps.items():
            if number:
                _time(action, rows, subjects, rounds.timed, number - rounds.timed, device, bar)
    for row in rows:
        row.compare_with(rows[-1])
    return rows


def measure_memory(
    entry: Entry, workload: Workload, device: torch.device, train: bool
) -> tuple[list[float], list[float]]:
    """Measure the peak memory of inference, and of a training step after it, both in MiB."""
    peak = PeakMemory(device)
    subject = SUBJECTS[entry.kind](entry, workload, device)
    subject.predict()
    predicting = peak.mebibytes()
    if not train or 'train' not in subject.actions:
        return [predicting], []
    subject.train()
    return [predicting], [peak.mebibytes()]


@contextmanager
def noting_failure(row: Row) -> Iterator[None]:
    """Keep an error from ending the run: note it in the row instead."""
    try:
        yield
    except Exception as error:
        row.failure = explain(error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def explain(error: Exception) -> str:
    """Say in a sentence what an error means to the user of the benchmark."""
    # str() of a KeyError puts its message in quotes.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = next(iter(message.strip().splitlines()), type(error).__name__).rstrip('.')
    out_of_memory = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    if out_of_memory or "can't allocate memory" in message:
        return f'out of memory: {SMALLER}.'
    if isinstance(error, BrokenProcessPool):
        return f'the process that measures its memory was killed, out of memory perhaps: {SMALLER}.'
    if isinstance(error, FileNotFoundError):
        return f'missing file: {text}.'
    if isinstance(error, KeyError) and 'registry' in text:
        return f'unknown module: {text}.'
    return f'{type(error).__name__}: {text}.'


def _count(row: Row) -> None:
    kind = row.entry.kind
    detector = build_without_weights(load_config(row.entry.config))
    row.parameters = count_parameters(detector if kind == 'detector' else getattr(detector, kind))
    row.gmacs = count_gmacs(detector, row.workload.height, row.workload.width, kind)


def _build(rows: list[Row], device: torch.device) -> dict[int, Subject]:
    """Build what has not failed; the reference first, since the others take its weights."""
    subjects: dict[int, Subject] = {}
    last = len(rows) - 1
    for index in reversed(range(len(rows))):
        row = rows[index]
        if row.failure:
            continue
        with noting_failure(row):
            subject = SUBJECTS[row.entry.kind](
                row.entry, row.workload, device, reference=subjects.get(last)
            )
            row.proposals, row.survivors = subject.proposals, subject.survivors
            subjects[index] = subject
    return subjects


def _time(
    action: str,
    rows: list[Row],
    subjects: dict[int, Subject],
    timed: int,
    warm_up: int,
    device: torch.device,
    bar: tqdm,
) -> None:
    """Time one action of all subjects that have it, and note it in their rows."""
    chosen = [
        (rows[index], subject)
        for index, subject in sorted(subjects.items())
        if not rows[index].failure and action in subject.actions
    ]
    splits: list[list[dict[str, float]]] = [[] for _ in chosen]
    actions = [
        _guarded(row, getattr(subject, action), split)
        for (row, subject), split in zip(chosen, splits, strict=True)
    ]
    seconds = time_in_turn(actions, timed, warm_up, device, bar.update)
    for (row, _), series, split in zip(chosen, seconds, splits, strict=True):
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

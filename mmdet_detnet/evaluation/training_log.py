"""Read what a run has logged: its losses, and the average precision of each validation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOG_NAME = 'vis_data/scalars.json'

Record = dict[str, Any]


def read_training_log(work_dir: Path) -> list[Record]:
    """Read the log of the newest run in a work directory and of those that it resumed.

    Each run has its own folder, named by its start time. Training records have keys such as
    ``'loss'``, ``'iter'`` and, in epoch-based loops, ``'epoch'``; validation records have metrics,
    and the epoch (or iteration) as ``'step'``.

    Args:
        work_dir: Work directory of the run.

    Returns:
        The records in order; none if there is no log, as of a checkpoint from elsewhere.

    Raises:
        ValueError: If a log is damaged.
    """
    joined: list[Record] = []
    for file in sorted(work_dir.glob(f'*/{LOG_NAME}')):
        try:
            records = [json.loads(line) for line in file.read_text().splitlines()]
        except json.JSONDecodeError as error:
            raise ValueError(f'{file} is damaged: {error}.') from error
        starts = [_position(record) for record in records if 'loss' in record]
        if starts:
            # A resumed run repeats what came after its checkpoint; a fresh start repeats all.
            joined = [record for record in joined if _position(record) < starts[0]] + records
    return joined


def _position(record: Record) -> int:
    """Return the epoch or, in iteration-based loops, the iteration."""
    return record['epoch'] if 'epoch' in record else record['step']


def select_values(records: Sequence[Record], name: str) -> list[tuple[int, float]]:
    """Select one quantity of the records.

    Args:
        records: Records of :func:`read_training_log`.
        name: Its name without the evaluator's prefix, such as ``'bbox_mAP'``.

    Returns:
        The step and the value of each record that has it.
    """
    return [
        (record['step'], value)
        for record in records
        for key, value in record.items()
        if key.split('/')[-1] == name
    ]

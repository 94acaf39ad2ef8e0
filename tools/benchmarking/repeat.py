"""Whether two runs of the benchmark agree."""

import json
from collections.abc import Mapping
from pathlib import Path

from .targets import QUANTITIES, Judgement
from .timing import Ratio

AGREEMENT = 0.03
# Process memory is counted once a run and has no rounds; only ratios of times are held to agree.
TIMED = ('predict_seconds', 'train_seconds')


def read_report(path: Path) -> dict:
    """Read what an earlier run has written.

    Args:
        path: A JSON file of the benchmark.

    Returns:
        Its content.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        report = json.loads(path.read_text())
        report['results']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no report of this benchmark: {error!r}.') from error
    return report


def judge_repeat(results: Mapping, earlier: Mapping) -> list[Judgement]:
    """Compare the ratios of two runs.

    Args:
        results: ``'results'`` of this run's report: rows as dictionaries by comparison.
        earlier: The same of the earlier run.

    Returns:
        A judgement for every ratio of times that both runs have, but the reference's own.
    """
    judgements = []
    for name, rows in results.items():
        before = {row['title']: row['ratios'] for row in earlier.get(name, [])}
        for row in rows[:-1]:
            for key in TIMED:
                if key in row['ratios'] and key in before.get(row['title'], {}):
                    now, then = row['ratios'][key]['median'], before[row['title']][key]['median']
                    what = f'{name}: {QUANTITIES[key]} of {row["title"]}'
                    judgements.append(_agreement(what, now, then))
    return judgements


def _agreement(what: str, now: float, then: float) -> Judgement:
    change = now / then
    state = 'met' if abs(change - 1) <= AGREEMENT else 'missed'
    sentence = f'{what}: ratios of two runs agree within {AGREEMENT:.0%} ({then:.3f}, {now:.3f})'
    return Judgement(sentence, state, AGREEMENT, Ratio(change, change, change))

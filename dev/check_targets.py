"""Compare a run of tools/benchmark.py with the targets of this package's modules.

    python dev/check_targets.py work_dirs/benchmark/REPORT.json [--repeat-of EARLIER.json]

Prints a table of targets met, missed and not measured; with ``--repeat-of`` also whether the ratios
of two runs agree, within 3 % or what their quartiles say.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate
from targets import (
    CPU_SPEED_UP,
    GPU_SPEED_UP,
    TARGETS,
    TRAINING_SPEED_UP,
    Target,
)

from mmdet_detnet.benchmark import Ratio, Row, Settings, read_report
from mmdet_detnet.benchmark.counts import FLOPS_PER_GMAC
from mmdet_detnet.benchmark.rows import AGREEMENT, QUANTITIES, TIMED, ratio


@dataclass
class Judgement:
    """The result for a target.

    Attributes:
        sentence: The target in words.
        state: ``'met'``, ``'missed'`` or ``'not measured'``.
        bound: Bound on the ratio.
        ratio: Measured ratio.
    """

    sentence: str
    state: str
    bound: float
    ratio: Ratio | None = None


def judge(name: str, rows: Sequence[Row], targets: Sequence[Target] = TARGETS) -> list[Judgement]:
    """Judge the rows of a comparison by its targets.

    Args:
        name: Name of the comparison.
        rows: Its rows.
        targets: Targets of any comparison; only this one's count.

    Returns:
        A judgement for each target and each setting in which both rows ran.
    """
    return [
        judgement
        for target in targets
        if target.comparison == name
        for judgement in _judge(target, rows)
    ]


def _judge(target: Target, rows: Sequence[Row]) -> list[Judgement]:
    sentence = (
        f'{target.comparison}: {_words(target.quantity)} of {target.config} at '
        f'{"least" if target.at_least else "most"} {target.bound} of {target.against}'
    )
    judgements = []
    for ours, stock in _pairs(target, rows):
        settings = ours.entry.settings
        words = sentence if settings == Settings() else f'{sentence}, both {settings.name}'
        judgements.append(_verdict(words, target, _ratio(target.quantity, ours, stock)))
    return judgements or [Judgement(sentence, 'not measured', target.bound)]


def _pairs(target: Target, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    return [
        (ours, stock)
        for ours in rows
        for stock in rows
        if _is_row_of(ours, target.config)
        and _is_row_of(stock, target.against)
        and ours.entry.settings == stock.entry.settings
    ]


def _is_row_of(row: Row, config: str) -> bool:
    """Tell whether a row runs a config as it is, with any acceleration."""
    return replace(row.entry, settings=Settings()).title == config


def _ratio(quantity: str, ours: Row, stock: Row) -> Ratio | None:
    if quantity == 'flop_rate':
        return ratio(flop_rates(ours), flop_rates(stock))
    return ratio(getattr(ours, quantity), getattr(stock, quantity))


def flop_rates(row: Row) -> list[float]:
    """Divide the operations of the forward pass by the time of each round, per second."""
    operations = FLOPS_PER_GMAC * sum(row.gmacs.values()) * row.workload.batch
    return [operations / seconds for seconds in row.predict_seconds] if operations else []


def _words(quantity: str) -> str:
    return QUANTITIES[quantity][0] if quantity in QUANTITIES else 'operations per second'


def _verdict(sentence: str, target: Target, measured: Ratio | None) -> Judgement:
    if measured is None:
        return Judgement(sentence, 'not measured', target.bound)
    low, high = (target.bound, float('inf')) if target.at_least else (0, target.bound)
    state = 'met' if low <= measured.median <= high else 'missed'
    return Judgement(sentence, state, target.bound, measured)


def judge_acceleration(rows: Sequence[Row], device: str) -> list[Judgement]:
    """Judge the speed-up of accelerated detectors that also ran plain.

    Args:
        rows: Rows of one comparison.
        device: ``'cpu'`` or ``'cuda'``.

    Returns:
        Judgements of inference and of training, if there is a target for the settings.
    """
    pairs = [
        (fast, plain)
        for fast in rows
        for plain in rows
        if fast.entry.kind == 'detector'
        and fast.entry.settings != Settings()
        and plain.entry == replace(fast.entry, settings=Settings())
    ]
    return [
        _judge_speed_up(quantity, factor, fast, plain)
        for fast, plain in pairs
        for quantity, factor in _speed_ups(fast.entry.settings, device).items()
    ]


def _speed_ups(settings: Settings, device: str) -> dict[str, float]:
    """List the targets for the speed-up, by quantity."""
    wanted = {}
    if device == 'cpu' and settings.precision in CPU_SPEED_UP:
        wanted['predict_seconds'] = CPU_SPEED_UP[settings.precision]
    if device == 'cuda' and settings.precision != 'fp32':
        wanted['predict_seconds'] = GPU_SPEED_UP
    if settings.channels_last:
        wanted['train_seconds'] = TRAINING_SPEED_UP
    return wanted


def _judge_speed_up(quantity: str, factor: float, fast: Row, plain: Row) -> Judgement:
    bound = round(1 / factor, 3)
    target = Target('', fast.entry.stem, plain.entry.stem, quantity, bound)
    sentence = f'{_words(quantity)} of {fast.entry.title} at most {bound} of it plain ({factor}x)'
    return _verdict(sentence, target, _ratio(quantity, fast, plain))


def format_judgements(judgements: Sequence[Judgement]) -> str:
    """Format judgements as a Markdown table.

    Args:
        judgements: Judgements of one or more comparisons.

    Returns:
        The table.
    """
    lines = [
        {
            'target': judgement.sentence,
            'measured': str(judgement.ratio) if judgement.ratio else '-',
            'state': judgement.state,
        }
        for judgement in judgements
    ]
    return tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)


def judge_repeat(name: str, rows: Sequence[Row], earlier: Sequence[Row]) -> list[Judgement]:
    """Compare the ratios of two runs of one comparison.

    Args:
        name: Name of the comparison.
        rows: Rows of this run.
        earlier: Rows of the earlier run.

    Returns:
        A judgement for each ratio of times that both runs have.
    """
    before = {row.entry: row.ratios for row in earlier}
    return [
        _agreement(
            f'{name}: {_words(key)} of {row.entry.title}',
            row.ratios[key],
            before[row.entry][key],
        )
        for row in rows[:-1]
        for key in TIMED
        if key in row.ratios and key in before.get(row.entry, {})
    ]


def _agreement(what: str, now: Ratio, then: Ratio) -> Judgement:
    """Judge by the usual bound, or by the bound from the quartiles if it is wider."""
    change = now.median / then.median
    bound = max(AGREEMENT, now.repeatability or 0, then.repeatability or 0)
    state = 'met' if abs(change - 1) <= bound else 'missed'
    medians = f'({then.median:.3f}, {now.median:.3f})'
    sentence = f'{what}: ratios of two runs agree within {bound:.1%} {medians}'
    return Judgement(sentence, state, bound, Ratio(change, change, change))


def main() -> None:
    """Judge a report; exit with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('report', type=Path, help='JSON file of a run')
    parser.add_argument('--repeat-of', type=Path, help='JSON file of a run to agree with')
    args = parser.parse_args()
    try:
        report = read_report(args.report)
        earlier = read_report(args.repeat_of)['rows'] if args.repeat_of else []
    except ValueError as error:
        parser.exit(1, f'{error}\n')
    rows = report['rows']
    judgements = judge(report['name'], rows) + judge_acceleration(rows, report['device_type'])
    judgements += judge_repeat(report['name'], rows, earlier)
    print(format_judgements(judgements))
    if any(judgement.state == 'missed' for judgement in judgements):
        parser.exit(1)


if __name__ == '__main__':
    main()

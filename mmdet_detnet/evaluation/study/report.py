"""Write the tables of a study from its results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from .comparison import Comparison, find_comparisons
from .evaluation import METRICS
from .plan import Study
from .plots import plot_comparisons
from .result_files import Result, name_result, read_results
from .statistics import (
    Estimate,
    bootstrap_difference,
    compute_p_value,
    correct_by_holm,
    estimate_mean,
)

MISSING = '-'
NEGLIGIBLE = 0.002  # a smaller difference of AP is called none, whatever its intervals
LEGEND = (
    "Differences are paired by seed; behind each its 95 % interval over seeds (Student's t). "
    'A difference is shown if neither this interval nor the one over test images (bootstrap) '
    'includes 0; one under 0.002 is called none. p is that of the two-sided t-test over seeds, '
    'then corrected by Holm for the number of planned comparisons, {}. AP33 and F33: AP and best '
    'F-score at an IoU of 0.33.'
)


def write_report(study: Study, folder: Path) -> str:
    """Write ``report.md`` and ``report.png`` from the results in a folder.

    Args:
        study: The plan.
        folder: Folder of the study.

    Returns:
        The tables, in Markdown.

    Raises:
        ValueError: If there are no results.
    """
    results = list(read_results(folder).values())
    if not results:
        raise ValueError(f'{folder} has no result yet.')
    made = [result for result in results if 'failure' not in result]
    comparisons = list(find_comparisons(study, made))
    text = format_report(study, results, comparisons)
    (folder / 'report.md').write_text(text, encoding='utf-8')
    plot_comparisons(made, comparisons, folder / 'report.png')
    return text


def format_report(
    study: Study, results: Sequence[Result], comparisons: Sequence[Comparison]
) -> str:
    """Format all tables, followed by failed and missing runs.

    Args:
        study: The plan.
        results: All results, including failed runs.
        comparisons: Comparisons of the finished runs.

    Returns:
        Markdown.
    """
    made = [result for result in results if 'failure' not in result]
    parts = [
        _table(_judge(comparisons, study)),
        LEGEND.format(len(study.comparisons) * _count_data_sets(study)),
        _table([_compare_metrics(each) for each in comparisons]),
        _table([_summarize(group) for group in _group(made)]),
        _table([_list_run(each) for each in made]),
        *(
            f'FAILED {name_result(each)}: {each["failure"]}'
            for each in results
            if 'failure' in each
        ),
        _list_missing(study, results),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'


def _judge(comparisons: Sequence[Comparison], study: Study) -> list[dict[str, str]]:
    number = len(study.comparisons) * _count_data_sets(study)
    p_values = [compute_p_value(each.differences('AP')) for each in comparisons]
    rows = []
    for comparison, p_value, corrected in zip(
        comparisons, p_values, correct_by_holm(p_values, number), strict=True
    ):
        differences = comparison.differences('AP')
        over_seeds = estimate_mean(differences)
        over_images = bootstrap_difference(comparison.pairs)
        rows.append(
            {
                **_title(comparison),
                'AP, difference over seeds': str(over_seeds),
                'of each seed': ', '.join(f'{each:+.3f}' for each in differences),
                'p': f'{p_value:.3f}',
                'p, Holm': f'{corrected:.3f}',
                'over test images': str(over_images),
                'verdict': decide(over_seeds, over_images),
            }
        )
    return rows


def _count_data_sets(study: Study) -> int:
    return len({run.data_set for run in study.runs})


def decide(over_seeds: Estimate, over_images: Estimate) -> str:
    """Decide what two intervals of a difference show."""
    if abs(over_seeds.mean) < NEGLIGIBLE:
        return 'none'
    if over_seeds.holds_zero or over_images.holds_zero:
        return 'no difference shown'
    return 'gain' if over_seeds.mean > 0 else 'loss'


def _title(comparison: Comparison) -> dict[str, str]:
    return {
        'data': comparison.data_set,
        'module': comparison.module,
        'control': comparison.control,
        'seeds': str(len(comparison.pairs)),
    }


def _compare_metrics(comparison: Comparison) -> dict[str, str]:
    row = _title(comparison)
    for metric in METRICS[1:]:
        differences = comparison.differences(metric)
        row[metric] = str(estimate_mean(differences)) if differences else MISSING
    return row


def _group(made: Sequence[Result]) -> list[list[Result]]:
    keys = dict.fromkeys((each['data_set'], each['detector']) for each in made)
    return [[each for each in made if (each['data_set'], each['detector']) == key] for key in keys]


def _summarize(group: Sequence[Result]) -> dict[str, str]:
    """Return the mean over one detector's seeds, and the standard deviation if defined."""
    row = {
        'data': group[0]['data_set'],
        'detector': group[0]['detector'],
        'seeds': str(len(group)),
        'epochs': str(group[0]['epochs']),
    }
    columns = {
        **{metric: [each['metrics'][metric] for each in group] for metric in METRICS},
        **{name: [each['per_class'][name] for each in group] for name in group[0]['per_class']},
    }
    for name, values in columns.items():
        defined = [value for value in values if value is not None]
        row[name] = f'{np.mean(defined):.3f}' if defined else MISSING
        if len(defined) > 1:
            row[name] += f' ± {np.std(defined, ddof=1):.3f}'
    return row


def _list_run(result: Result) -> dict[str, str]:
    ap = result['metrics']['AP']
    return {
        'run': name_result(result),
        'AP': MISSING if ap is None else f'{ap:.3f}',
        'final loss': f'{result["final_loss"]:.3f}',
        'training': f'{result["train_seconds"]:.0f} s',
        'CPU time': f'{result["cpu_seconds"]:.0f} s',
        'device': f'{result["device"]}, threads: {result["threads"]}',
    }


def _list_missing(study: Study, results: Sequence[Result]) -> str:
    there = {name_result(result) for result in results}
    missing = [run.name for run in study.runs if run.name not in there]
    return f'Not run: {", ".join(missing)}.' if missing else ''


def _table(rows: list[dict[str, str]]) -> str:
    return tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)

"""Write the tables and the plot of a study from its results."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t, ttest_1samp
from tabulate import tabulate

from .matches import COCO_THRESHOLDS, METRICS, average_precisions
from .plan import Study
from .result_files import Result, name_result, read_results

CONFIDENCE = 0.95
RESAMPLES = 500
NEGLIGIBLE = 0.002  # a smaller difference of AP is called none, whatever its intervals
MISSING = '-'
DPI = 110
LEGEND = (
    "Differences are paired by seed; behind each its 95 % interval over seeds (Student's t). "
    'A difference is shown if neither this interval nor the one over test images (bootstrap) '
    'includes 0; one under 0.002 is called none. p is that of the two-sided t-test over seeds, '
    'then corrected by Holm for the number of planned comparisons, {}. AP33 and F33: AP and best '
    'F-score at an IoU of 0.33.'
)


class Estimate(NamedTuple):
    """A mean and its 95 % interval, whose ends are NaN if there is none."""

    mean: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether no difference is shown; also true without an interval."""
        return not (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        interval = '-' if np.isnan(self.low) else f'{self.low:+.3f} to {self.high:+.3f}'
        return f'{self.mean:+.3f} ({interval})'


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Estimate a mean of at least one value with Student's t; one value has no interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, np.nan, np.nan)
    quantile = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    margin = float(quantile * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - margin, mean + margin)


def compute_p_value(values: Sequence[float]) -> float:
    """Compute the p-value of Student's two-sided test that the mean is 0; 1 if undefined."""
    if len(values) < 2 or not np.any(values):
        return 1.0
    return 0.0 if np.ptp(values) == 0 else float(ttest_1samp(values, 0).pvalue)


def correct_by_holm(p_values: Sequence[float], number: int) -> list[float]:
    """Correct p-values for the number of comparisons, by Holm's method.

    Args:
        p_values: Of the comparisons that were made.
        number: Of all comparisons that were planned; those that were not made count as 1.

    Returns:
        The corrected p-values, in the same order.
    """
    corrected = [1.0] * len(p_values)
    lowest = 0.0  # the smallest p-value that keeps the order
    for rank, place in enumerate(np.argsort(p_values, kind='stable')):
        lowest = max(lowest, min(1.0, (number - rank) * p_values[place]))
        corrected[place] = lowest
    return corrected


def resample(result: Result) -> np.ndarray:
    """Compute the AP on images drawn with replacement, the same draws for all detectors."""
    num_images = result['images']
    shares = np.full(num_images, 1 / num_images)
    draws = np.random.default_rng(0).multinomial(num_images, shares, RESAMPLES)
    classes = result['matches'].values()
    return np.array(
        [
            np.nanmean([average_precisions(each, draw)[COCO_THRESHOLDS] for each in classes])
            for draw in draws
        ]
    )


class Comparison(NamedTuple):
    """A module against its control on one dataset, with their results, a pair a seed."""

    data_set: str
    module: str
    control: str
    pairs: list[tuple[Result, Result]]

    def differences(self, metric: str) -> list[float]:
        """Compute the differences per seed; empty if the metric is undefined."""
        values = [(one['metrics'][metric], other['metrics'][metric]) for one, other in self.pairs]
        return [one - other for one, other in values if None not in (one, other)]

    def bootstrap(self, resampled: Mapping[str, np.ndarray]) -> Estimate:
        """Estimate the difference in AP on other images like the test images.

        Args:
            resampled: What :func:`resample` returns, by the name of the run.

        Returns:
            The mean difference over seeds, with percentiles of the resampled means.
        """
        pairs = [(resampled[name_result(a)], resampled[name_result(b)]) for a, b in self.pairs]
        margin = (1 - CONFIDENCE) / 2
        means = np.mean([one - other for one, other in pairs], axis=0)
        low, high = np.quantile(means, [margin, 1 - margin])
        mean = np.mean([a['metrics']['AP'] - b['metrics']['AP'] for a, b in self.pairs])
        return Estimate(float(mean), float(low), float(high))


def write_report(study: Study, folder: Path) -> str:
    """Write ``report.md`` and ``report.png`` from the results in a folder.

    Returns:
        The tables, in Markdown, followed by failed and missing runs.

    Raises:
        ValueError: If there are no results, or one is damaged.
    """
    results = read_results(folder)
    if not results:
        raise ValueError(f'{folder} has no result yet.')
    made = [result for result in results.values() if 'failure' not in result]
    groups: dict[tuple[str, str], list[Result]] = {}
    for each in made:
        groups.setdefault((each['data_set'], each['detector']), []).append(each)
    comparisons = list(_find_comparisons(study, made))
    number = len(study.comparisons) * len({run.data_set for run in study.runs})
    missing = [run.name for run in study.runs if run.name not in results]
    parts = [
        _table(_judge(comparisons, number)),
        LEGEND.format(number),
        _table([_compare_metrics(each) for each in comparisons]),
        _table([_summarize(group) for group in groups.values()]),
        _table([_list_run(each) for each in made]),
        *(f'FAILED {k}: {each["failure"]}' for k, each in results.items() if 'failure' in each),
        f'Not run: {", ".join(missing)}.' if missing else '',
    ]
    text = '\n\n'.join(filter(None, parts)) + '\n'
    (folder / 'report.md').write_text(text, encoding='utf-8')
    _plot(groups, comparisons, folder / 'report.png')
    return text


def _find_comparisons(study: Study, made: Sequence[Result]) -> Iterator[Comparison]:
    """Pair the results of each comparison by seed; results without a pair are dropped."""
    found = {(each['data_set'], each['detector'], each['seed']): each for each in made}
    for data_set in dict.fromkeys(run.data_set for run in study.runs):
        for module, control in study.comparisons:
            pairs = [
                (result, found[data_set, control, seed])
                for (of_set, name, seed), result in found.items()
                if (of_set, name) == (data_set, module) and (data_set, control, seed) in found
            ]
            if pairs:
                yield Comparison(data_set, module, control, pairs)


def _judge(comparisons: Sequence[Comparison], number: int) -> list[dict[str, str]]:
    paired = {name_result(each): each for one in comparisons for pair in one.pairs for each in pair}
    resampled = {name: resample(result) for name, result in paired.items()}
    p_values = [compute_p_value(each.differences('AP')) for each in comparisons]
    rows = []
    for comparison, p_value, corrected in zip(
        comparisons, p_values, correct_by_holm(p_values, number), strict=True
    ):
        differences = comparison.differences('AP')
        over_seeds, over_images = estimate_mean(differences), comparison.bootstrap(resampled)
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


def decide(over_seeds: Estimate, over_images: Estimate) -> str:
    """Decide what two intervals of a difference show."""
    if abs(over_seeds.mean) < NEGLIGIBLE:
        return 'none'
    if over_seeds.includes_zero or over_images.includes_zero:
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
    of_metrics = {metric: comparison.differences(metric) for metric in METRICS[1:]}
    texts = {key: str(estimate_mean(each)) if each else MISSING for key, each in of_metrics.items()}
    return {**_title(comparison), **texts}


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


def _table(rows: list[dict[str, str]]) -> str:
    return tabulate(rows, headers='keys', tablefmt='github', disable_numparse=True)


def _plot(
    groups: Mapping[tuple[str, str], Sequence[Result]],
    comparisons: Sequence[Comparison],
    path: Path,
) -> None:
    """Plot a point per seed, and means with 95 % intervals."""
    aps = {
        f'{detector}, {data_set}': [each['metrics']['AP'] or 0 for each in group]
        for (data_set, detector), group in groups.items()
    }
    differences = {
        f'{each.module} - {each.control}, {each.data_set}': each.differences('AP')
        for each in comparisons
    }
    height = 1.2 + 0.45 * max(len(aps), len(differences))
    figure = Figure(figsize=(12, height), dpi=DPI, layout='constrained')
    left, right = figure.subplots(1, 2)
    _plot_rows(left, aps)
    left.set_xlabel('AP on the test images')
    _plot_rows(right, differences)
    right.axvline(0, color='black', linewidth=1)
    right.set_xlabel('difference of AP, paired by seed;\nmean and 95 % interval')
    figure.savefig(path)


def _plot_rows(axes: Axes, rows: dict[str, list[float]]) -> None:
    for place, values in enumerate(rows.values()):
        axes.plot(values, [place] * len(values), 'o', color='C0', alpha=0.6)
        mean = estimate_mean(values)
        margin = None if len(values) < 2 else mean.high - mean.mean
        axes.errorbar(mean.mean, place + 0.2, xerr=margin, fmt='|', color='C1', capsize=3)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis='x', alpha=0.3)

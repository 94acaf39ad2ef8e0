"""The results of a study: how a run is evaluated, its file, and the tables and plot of all."""

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t, ttest_1samp
from tabulate import tabulate

from mmdet_detnet.files import OutputFolder, read_json, write_file

from .metrics import (
    GroundTruth,
    Match,
    build_coco_eval,
    mean_precision,
    number_objects,
    pool,
    quiet,
    rank,
)

if TYPE_CHECKING:
    from .study import Study

Result = dict[str, Any]
Matches = dict[str, list[int]]
PACKED = 'results.json.xz'
REPORT_FILES = ('report.md', 'report.png')
CURVES = 'curves.png'  # if results have curves
DIGEST = 'digest'  # key of that of the config, which results of earlier versions lack
# The first is DeepPCB's threshold; the others are COCO's.
IOU_THRESHOLDS = [0.33, *np.linspace(0.5, 0.95, 10)]
COCO_THRESHOLDS = slice(1, None)
RECALLS = np.linspace(0, 1, 101)
AREAS = {'APs': 1, 'APm': 2, 'APl': 3}  # indices in COCOeval; 0 is all
METRICS = ('AP', 'AP50', 'AP75', *AREAS, 'AP33', 'F33')
CONFIDENCE = 0.95
RESAMPLES = 500
NEGLIGIBLE = 0.002  # a smaller difference of AP is called none, whatever its intervals
MISSING = '-'
LEGEND = (
    "Differences are paired by seed; behind each its 95 % interval over seeds (Student's t). "
    'A difference is shown if neither this interval nor the one over test images (bootstrap) '
    'includes 0; one under 0.002 is called none. p is that of the two-sided t-test over seeds, '
    'then corrected by Holm for the number of planned comparisons, {}. AP33 and F33: AP and best '
    'F-score at an IoU of 0.33.'
)


def evaluate(annotations: str | Path, detections: str | Path, classes: Sequence[str]) -> Result:
    """Evaluate detections, both files as in COCO, for the classes of these names.

    Returns:
        ``metrics``: AP, AP50, AP75, APs, APm and APl as COCO defines them; AP33, at the one IoU of
        0.33, and F33, the best F-score there, as DeepPCB asks for. Metrics without objects are
        None. ``per_class``: the AP of each class. ``images``: their number. ``matches`` of each
        class: what intervals over the test images need, instead of the data and the detections.
    """
    content, boxes = read_json(annotations), read_json(detections)
    categories = {c['id']: c['name'] for c in content['categories'] if c['name'] in classes}
    truth = GroundTruth(categories, content['images'], number_objects(content['annotations']))
    coco = build_coco_eval(truth, boxes)
    coco.params.iouThrs = np.array(IOU_THRESHOLDS)
    with quiet():
        coco.evaluate()
        coco.accumulate()
    precision = coco.eval['precision'][..., -1]  # with COCO's limit of 100 detections
    names = [categories[index] for index in coco.params.catIds]
    # COCO's order: by class, then area range, then image.
    shape = (len(names), len(coco.params.areaRng), len(coco.params.imgIds))
    of_images = np.array(coco.evalImgs, dtype=object).reshape(shape)[:, 0]
    ranking = pool(rank(truth, [each for each in of_images.ravel() if each is not None]))
    return {
        'metrics': {
            'AP': mean_precision(precision[COCO_THRESHOLDS, ..., 0]),
            'AP50': mean_precision(precision[1, ..., 0]),
            'AP75': mean_precision(precision[6, ..., 0]),
            **{
                name: mean_precision(precision[COCO_THRESHOLDS, ..., area])
                for name, area in AREAS.items()
            },
            'AP33': mean_precision(precision[0, ..., 0]),
            'F33': ranking.best_f1()[0] if ranking.objects else None,
        },
        'per_class': {
            name: mean_precision(precision[COCO_THRESHOLDS, :, index, 0])
            for index, name in enumerate(names)
        },
        'images': len(coco.params.imgIds),
        'matches': dict(zip(names, map(_read_matches, of_images), strict=True)),
    }


def _read_matches(of_images: Sequence[Match | None]) -> Matches:
    """Keep of a class what its AP depends on.

    That is the number of ``truths`` in each image; the ``image`` of each detection, by descending
    score; which of them are ``marked`` as a hit or ignored, because of a crowd, at some IoU; and
    ``hit`` and ``ignored`` of these, bit by bit for :data:`IOU_THRESHOLDS`.
    """
    found = [(number, each) for number, each in enumerate(of_images) if each]
    nothing = np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)
    ignored = np.hstack([nothing, *(each['dtIgnore'].astype(bool) for _, each in found)])
    hit = np.hstack([nothing, *(each['dtMatches'] > 0 for _, each in found)]) & ~ignored
    order = np.argsort([-score for _, each in found for score in each['dtScores']], kind='stable')
    image = np.array([number for number, each in found for _ in each['dtScores']], dtype=int)
    marked = np.flatnonzero((hit | ignored).any(axis=0)[order])
    bits = 1 << np.arange(len(IOU_THRESHOLDS))
    return {
        'truths': [int((each['gtIgnore'] == 0).sum()) if each else 0 for each in of_images],
        'image': image[order].tolist(),
        'marked': marked.tolist(),
        'hit': (bits @ hit)[order][marked].tolist(),
        'ignored': (bits @ ignored)[order][marked].tolist(),
    }


def reduce_matches(matches: Matches) -> Matches:
    """Leave out what no AP depends on, which halves the packed file.

    That is the order of detections between two marked ones, and all detections behind the last.
    """
    groups = np.split(matches['image'], np.array(matches['marked'], dtype=int) + 1)[:-1]
    image = [number for *others, last in groups for number in (*sorted(others), last)]
    return {**matches, 'image': [int(number) for number in image]}


def average_precisions(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Compute COCO's AP of a class at :data:`IOU_THRESHOLDS`; NaN if there is no object.

    ``weights`` has the number of copies of each image.
    """
    num_truths = weights @ np.asarray(matches['truths'])
    if num_truths == 0:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    # Only hits raise the recall, so the precision matters at no other detection.
    marked, image = (np.asarray(matches[key], dtype=int) for key in ('marked', 'image'))
    weight = weights[image]
    bits = np.arange(len(IOU_THRESHOLDS))[:, None]
    hits, ignored = (
        np.cumsum((np.asarray(matches[key], dtype=int) >> bits & 1) * weight[marked], axis=1)
        for key in ('hit', 'ignored')
    )
    precision = hits / np.maximum(np.cumsum(weight)[marked] - ignored, np.spacing(1))
    # The best precision at this recall or higher, and 0 at recalls that are never reached.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))
    places = [np.searchsorted(each / num_truths, RECALLS, side='left') for each in hits]
    return np.array([row[place].mean() for row, place in zip(precision, places, strict=True)])


def name_run(data_set: str, detector: str, seed: int) -> str:
    """Return the name of a run, also of its files."""
    return f'{data_set}_{detector}_seed{seed}'


def _name(result: Result) -> str:
    return name_run(result['data_set'], result['detector'], result['seed'])


def write_result(folder: Path, result: Result) -> None:
    """Write the result of a run atomically."""
    file = folder / 'results' / f'{_name(result)}.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, (json.dumps(result, separators=(',', ':')) + '\n').encode())


def read_results(folder: Path, *more: Path) -> dict[str, Result]:
    """Read ``results.json.xz`` and ``results/*.json`` of a study, and ``more`` packed files.

    Returns:
        The results by the name of their run, in the order of the names. Their matches are reduced.

    Raises:
        ValueError: If a file is not a result, a run has two different results, or results of one
            detector have other settings, or of one dataset other images or classes.
    """
    found: dict[str, Result] = {}
    packed = [file for file in dict.fromkeys((*more, folder / PACKED)) if file.exists()]
    for file in (*packed, *sorted((folder / 'results').glob('*.json'))):
        try:
            content = file.read_bytes()
            results = json.loads(lzma.decompress(content) if file in packed else content)
            for result in results if file in packed else [results]:
                _add(found, result)
        except (AttributeError, KeyError, TypeError, ValueError, lzma.LZMAError) as error:
            raise ValueError(f'{file} does not have results of this study: {error}.') from error
    return dict(sorted(found.items()))


def _add(found: dict[str, Result], result: Result) -> None:
    """Add a result, which may be the one that is there; a failed run may have been repeated."""
    name = _name(result)
    if 'failure' not in result:
        matches = result['matches'].items()
        result = {**result, 'matches': {label: reduce_matches(each) for label, each in matches}}
    earlier = found.get(name, result)
    if earlier != result and 'failure' not in earlier:
        raise ValueError(f'there is another, different result of {name}')
    for each in found.values():
        if each['data_set'] == result['data_set'] and not {'failure'} & {*each, *result}:
            keys = ['images']
            if each['detector'] == result['detector']:
                keys += ['config', 'options', *({DIGEST} & each.keys() & result.keys())]
            different = [key for key in keys if each[key] != result[key]]
            if [*each['per_class']] != [*result['per_class']]:
                different.append('per_class')
            if different:
                raise ValueError(f'{_name(each)} and {name} differ in {", ".join(different)}')
    found[name] = result


def pack_results(folder: Path, file: Path) -> int:
    """Add the results of a study's folder to a packed file; the same results give the same bytes.

    Returns:
        The number of results that are in the file now.

    Raises:
        ValueError: As in :func:`read_results`, or if there are no results.
    """
    results = read_results(folder, file)
    if not results:
        raise ValueError(f'{folder} has no results to pack.')
    # The order of the classes is that of the report's columns; the other keys are sorted.
    content = [{key: result[key] for key in sorted(result)} for result in results.values()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, lzma.compress(json.dumps(content, separators=(',', ':')).encode()))
    return len(results)


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
    """Correct p-values by Holm's method for the number of planned comparisons.

    Comparisons that were not made count with a p-value of 1.
    """
    order = np.argsort(p_values, kind='stable')
    corrected = np.empty(len(p_values))
    factors = number - np.arange(len(p_values))
    # No value falls below the one before it.
    corrected[order] = np.maximum.accumulate(factors * np.asarray(p_values)[order]).clip(max=1)
    return corrected.tolist()


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
    """A module against its control on one dataset, with their results, one pair per seed."""

    data_set: str
    module: str
    control: str
    pairs: list[tuple[Result, Result]]

    def differences(self, metric: str) -> list[float]:
        """Compute the differences per seed; empty if the metric is undefined."""
        values = [(one['metrics'][metric], other['metrics'][metric]) for one, other in self.pairs]
        return [one - other for one, other in values if None not in (one, other)]

    def curves(self) -> dict[int, np.ndarray]:
        """Return APs on the validation images by epoch, in shape (pairs, 2) with the control last.

        An epoch that not all runs have is left out.
        """
        curves = [[dict(each.get('curve', ())) for each in pair] for pair in self.pairs]
        epochs = set.intersection(*({*each} for pair in curves for each in pair))
        return {
            epoch: np.array([[each[epoch] for each in pair] for pair in curves])
            for epoch in sorted(epochs)
        }

    def title(self) -> dict[str, str]:
        """Return the first columns of its row in a table."""
        row = dict(data=self.data_set, module=self.module, control=self.control)
        return row | dict(seeds=str(len(self.pairs)))


def bootstrap(comparison: Comparison, resampled: Mapping[str, np.ndarray]) -> Estimate:
    """Estimate the difference of AP, mean over seeds, on other images like the test images.

    ``resampled`` has what :func:`resample` returns, by the name of the run.
    """
    pairs = comparison.pairs
    means = np.mean([resampled[_name(a)] - resampled[_name(b)] for a, b in pairs], axis=0)
    margin = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [margin, 1 - margin])
    return Estimate(float(np.mean(comparison.differences('AP'))), float(low), float(high))


def decide(over_seeds: Estimate, over_images: Estimate) -> str:
    """Decide what two intervals of a difference show."""
    if abs(over_seeds.mean) < NEGLIGIBLE:
        return 'none'
    if over_seeds.includes_zero or over_images.includes_zero:
        return 'no difference shown'
    return 'gain' if over_seeds.mean > 0 else 'loss'


def write_report(study: 'Study', folder: Path) -> str:
    """Write ``report.md`` and ``report.png`` from the results in a folder.

    Returns:
        The tables, in Markdown, followed by failed and missing runs.

    Raises:
        FileExistsError: If a file of the user's has one of these names.
        ValueError: If there are no results, or one is damaged.
    """
    output = OutputFolder(folder)
    output.check(*REPORT_FILES)
    results = read_results(folder)
    if not results:
        raise ValueError(f'{folder} has no result yet.')
    made = [result for result in results.values() if 'failure' not in result]
    groups: dict[tuple[str, str], list[Result]] = {}
    for each in made:
        groups.setdefault((each['data_set'], each['detector']), []).append(each)
    comparisons = list(_find_comparisons(study, groups))
    number = len(study.comparisons) * len({run.data_set for run in study.runs})
    missing = [run.name for run in study.runs if run.name not in results]
    parts = [
        _table(_judge(comparisons, number)),
        LEGEND.format(number),
        _table([_compare_metrics(each) for each in comparisons]),
        _table([row for each in comparisons for row in _follow(each)]),
        _table([_summarize(group) for group in groups.values()]),
        _table([_list_run(each) for each in made]),
        *(f'FAILED {k}: {each["failure"]}' for k, each in results.items() if 'failure' in each),
        f'Not run: {", ".join(missing)}.' if missing else '',
    ]
    text = '\n\n'.join(filter(None, parts)) + '\n'
    page, plot = map(output.path, REPORT_FILES)
    page.write_text(text, encoding='utf-8')
    _plot(groups, comparisons, plot)
    if followed := [each for each in comparisons if each.curves()]:
        output.check(CURVES)
        _plot_curves(followed, output.path(CURVES))
    return text


def _find_comparisons(
    study: 'Study', groups: Mapping[tuple[str, str], Sequence[Result]]
) -> Iterator[Comparison]:
    """Pair the results of each comparison by seed; results without a pair are dropped."""
    for data_set in dict.fromkeys(run.data_set for run in study.runs):
        for module, control in study.comparisons:
            partners = {each['seed']: each for each in groups.get((data_set, control), ())}
            of_module = groups.get((data_set, module), ())
            pairs = [(one, partners[one['seed']]) for one in of_module if one['seed'] in partners]
            if pairs:
                yield Comparison(data_set, module, control, pairs)


def _judge(comparisons: Sequence[Comparison], number: int) -> list[dict[str, str]]:
    paired = {_name(each): each for one in comparisons for pair in one.pairs for each in pair}
    resampled = {name: resample(result) for name, result in paired.items()}
    differences = [each.differences('AP') for each in comparisons]
    p_values = [compute_p_value(each) for each in differences]
    corrected = correct_by_holm(p_values, number)
    rows = []
    for comparison, values, p, p_holm in zip(
        comparisons, differences, p_values, corrected, strict=True
    ):
        over_seeds, over_images = estimate_mean(values), bootstrap(comparison, resampled)
        row = {
            'AP, difference over seeds': str(over_seeds),
            'of each seed': ', '.join(f'{each:+.3f}' for each in values),
            'p': _format_p(p),
            'p, Holm': _format_p(p_holm),
            'over test images': str(over_images),
            'verdict': decide(over_seeds, over_images),
        }
        rows.append(comparison.title() | row)
    return rows


def _format_p(value: float) -> str:
    return f'{value:.3f}' if value >= 0.0005 else '< 0.001'


def _compare_metrics(comparison: Comparison) -> dict[str, str]:
    of_metrics = {metric: comparison.differences(metric) for metric in METRICS[1:]}
    texts = {key: str(estimate_mean(each)) if each else MISSING for key, each in of_metrics.items()}
    return comparison.title() | texts


def _follow(comparison: Comparison) -> Iterator[dict[str, str]]:
    """Yield rows of the AP on the validation images, one for each epoch that is validated."""
    for epoch, aps in comparison.curves().items():
        module, control = aps.mean(axis=0)
        differences = aps[:, 0] - aps[:, 1]
        yield comparison.title() | {
            'epoch': str(epoch),
            'AP on validation images: control, module': f'{control:.3f}, {module:.3f}',
            'difference over seeds': str(estimate_mean(differences)),
            'of each seed': ', '.join(f'{each:+.3f}' for each in differences),
        }


def _summarize(group: Sequence[Result]) -> dict[str, str]:
    """Return the mean over one detector's seeds, and the standard deviation if defined."""
    first = group[0]
    row = dict(data=first['data_set'], detector=first['detector'])
    row |= dict(seeds=str(len(group)), epochs=str(first['epochs']))
    for key in ('metrics', 'per_class'):
        for name in METRICS if key == 'metrics' else first[key]:
            defined = [each[key][name] for each in group if each[key][name] is not None]
            row[name] = f'{np.mean(defined):.3f}' if defined else MISSING
            if len(defined) > 1:
                row[name] += f' ± {np.std(defined, ddof=1):.3f}'
    return row


def _list_run(result: Result) -> dict[str, str]:
    ap = result['metrics']['AP']
    return {
        'run': _name(result),
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
    figure = Figure(figsize=(12, height), dpi=110, layout='constrained')
    left, right = figure.subplots(1, 2)
    left.set_xlabel('AP on the test images')
    right.set_xlabel('difference of AP, paired by seed;\nmean and 95 % interval')
    right.axvline(0, color='black', linewidth=1)
    for axes, rows in ((left, aps), (right, differences)):
        for place, values in enumerate(rows.values()):
            axes.plot(values, [place] * len(values), 'o', color='C0', alpha=0.6)
            mean = estimate_mean(values)
            margin = None if len(values) < 2 else mean.high - mean.mean
            axes.errorbar(mean.mean, place + 0.2, xerr=margin, fmt='|', color='C1', capsize=3)
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis='x', alpha=0.3)
    figure.savefig(path)


def _plot_curves(comparisons: Sequence[Comparison], path: Path) -> None:
    """Plot the difference of AP over the epochs: a line per seed, the mean and its interval."""
    figure = Figure(figsize=(12, 4 * len(comparisons)), dpi=110, layout='constrained')
    for row, comparison in zip(
        figure.subplots(len(comparisons), 2, squeeze=False), comparisons, strict=True
    ):
        curves = comparison.curves()
        epochs, aps = [*curves], np.array([*curves.values()])  # (epochs, pairs, 2)
        differences = aps[..., 0] - aps[..., 1]
        means = [estimate_mean(each) for each in differences]
        row[0].plot(epochs, aps[..., 1], color='C0', alpha=0.5)
        row[0].plot(epochs, aps[..., 0], color='C1', alpha=0.5)
        row[0].plot(epochs, aps[..., 1].mean(axis=1), color='C0', lw=3, label=comparison.control)
        row[0].plot(epochs, aps[..., 0].mean(axis=1), color='C1', lw=3, label=comparison.module)
        row[0].set(ylabel='AP on the validation images', ylim=(0, None))
        row[0].legend()
        row[1].axhline(0, color='black', linewidth=1)
        row[1].plot(epochs, differences, color='C0', alpha=0.5)
        row[1].plot(epochs, [each.mean for each in means], color='C1', linewidth=3)
        row[1].fill_between(
            epochs, [e.low for e in means], [e.high for e in means], color='C1', alpha=0.2
        )
        title = f'{comparison.module} - {comparison.control}, {comparison.data_set}'
        row[1].set(title=title, ylabel='difference of AP; mean and 95 % interval')
        for axes in row:
            axes.set_xlabel('epoch')
            axes.grid(alpha=0.3)
    figure.savefig(path)

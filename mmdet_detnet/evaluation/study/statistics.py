"""Estimate the uncertainty of a difference over seeds and over test images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t, ttest_1samp

from .evaluation import COCO_THRESHOLDS, average_precisions
from .result_files import Result

CONFIDENCE = 0.95
RESAMPLES = 500


class Estimate(NamedTuple):
    """A mean and its 95 % interval.

    Attributes:
        mean: The mean.
        low: Lower end of the interval; NaN if there is none.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether no difference is shown; also true without an interval."""
        return not (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        interval = '-' if np.isnan(self.low) else f'{self.low:+.3f} to {self.high:+.3f}'
        return f'{self.mean:+.3f} ({interval})'


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Estimate a mean with Student's t; a single value has no interval.

    Args:
        values: At least one value.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, np.nan, np.nan)
    quantile = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    margin = float(quantile * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - margin, mean + margin)


def bootstrap_difference(pairs: Sequence[tuple[Result, Result]]) -> Estimate:
    """Estimate the difference in AP on other images like the test images.

    The same images are resampled, with replacement, for all detectors.

    Args:
        pairs: Results with the module and without it, one pair per seed.

    Returns:
        The mean difference over seeds, with percentiles of the resampled means.
    """
    num_images = pairs[0][0]['images']
    shares = np.full(num_images, 1 / num_images)
    draws = np.random.default_rng(0).multinomial(num_images, shares, RESAMPLES)
    differences = [_resample(one, draws) - _resample(other, draws) for one, other in pairs]
    margin = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.mean(differences, axis=0), [margin, 1 - margin])
    mean = np.mean([one['metrics']['AP'] - other['metrics']['AP'] for one, other in pairs])
    return Estimate(float(mean), float(low), float(high))


def _resample(result: Result, draws: np.ndarray) -> np.ndarray:
    """Compute the AP of each resampling of images."""
    classes = result['matches'].values()
    return np.array(
        [
            np.nanmean([average_precisions(each, draw)[COCO_THRESHOLDS] for each in classes])
            for draw in draws
        ]
    )


def compute_p_value(values: Sequence[float]) -> float:
    """Compute the p-value of Student's two-sided test that the mean is 0; 1 if undefined."""
    if len(values) < 2 or not np.any(values):
        return 1.0
    if np.ptp(values) == 0:
        return 0.0
    return float(ttest_1samp(values, 0).pvalue)


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

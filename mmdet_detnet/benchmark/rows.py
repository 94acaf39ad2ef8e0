"""Measurements of one row of a comparison, and ratios between rows."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .workload import Entry, Settings, Workload

# All measured quantities: name in tables and format of a value.
QUANTITIES = {
    'predict_seconds': ('inference', '{:.3f} s'),
    'train_seconds': ('training step', '{:.3f} s'),
    'predict_mib': ('inference memory', '{:.0f} MiB'),
    'train_mib': ('training memory', '{:.0f} MiB'),
}
# 1.96 * sqrt(2) * 1.253 / 1.349: two medians of normally distributed values differ by at most this
# times their interquartile range over the root of their number, in 95 % of cases.
MEDIANS_APART = 2.575
# Quartiles of fewer rounds are not meaningful.
FEWEST_ROUNDS = 5
# Process memory is measured once per run, without rounds.
TIMED = ('predict_seconds', 'train_seconds')
# Relative difference of two runs' ratios that is not reported.
AGREEMENT = 0.03


@dataclass(frozen=True)
class Ratio:
    """Ratios of the rounds of two rows.

    Attributes:
        median: Their median.
        low: Their lower quartile.
        high: Their upper quartile.
        rounds: Their number.
    """

    median: float
    low: float
    high: float
    rounds: int = 1

    @property
    def repeatability(self) -> float | None:
        """Relative difference of the median in another run, not exceeded in 95 % of cases.

        Computed from the quartiles; None for fewer than five rounds.
        """
        if self.rounds < FEWEST_ROUNDS:
            return None
        return MEDIANS_APART * (self.high - self.low) / math.sqrt(self.rounds) / self.median

    def __str__(self) -> str:
        return f'{self.median:.3f} ({self.low:.3f} to {self.high:.3f})'


def ratio(values: Sequence[float], reference: Sequence[float]) -> Ratio | None:
    """Divide two rows round by round; None if one of them has no values."""
    if not values or not reference:
        return None
    ratios = [ours / stock for ours, stock in zip(values, reference, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return Ratio(median, low, high, len(ratios))


@dataclass
class Row:
    """Cost of one entry, and ratios to the reference; empty if not measured.

    Attributes:
        entry: What was measured.
        workload: Its input.
        parameters: Number of parameters.
        gmacs: Multiply-adds of a forward pass of one image by part, in units of 1e9.
        predict_seconds: Time of each round of inference.
        train_seconds: Time of each round of a training step.
        parts: Times of inference by part, from separate rounds.
        predict_mib: Peak memory of inference, in MiB; one value.
        train_mib: Peak memory of a training step, in MiB; one value.
        proposals: Number of proposals of a two-stage detector with random weights.
        survivors: Number of proposals with a class above the score threshold.
        failure: Reason for missing values.
        ratios: Ratio to the reference for each of :data:`QUANTITIES` that both have.
    """

    entry: Entry
    workload: Workload = Workload()
    parameters: int | None = None
    gmacs: dict[str, float] = field(default_factory=dict)
    predict_seconds: list[float] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    predict_mib: list[float] = field(default_factory=list)
    train_mib: list[float] = field(default_factory=list)
    proposals: int | None = None
    survivors: int | None = None
    failure: str | None = None
    ratios: dict[str, Ratio] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> 'Row':
        """Read a row from the content of a report's JSON file."""
        settings = Settings(**values['entry']['settings'])
        return cls(
            **{
                **values,
                'entry': Entry(**{**values['entry'], 'settings': settings}),
                'workload': Workload(**values['workload']),
                'ratios': {key: Ratio(**each) for key, each in values['ratios'].items()},
            }
        )

    def median(self, quantity: str) -> float | None:
        """Return the median of a quantity's rounds; None if not measured."""
        values = getattr(self, quantity)
        return statistics.median(values) if values else None

    def forget(self, action: str) -> None:
        """Drop the times of 'predict', 'parts' or 'train'."""
        times = self.parts if action == 'parts' else getattr(self, f'{action}_seconds')
        times.clear()

    def compare_with(self, reference: 'Row') -> None:
        """Set the ratios to a reference."""
        pairs = {key: ratio(getattr(self, key), getattr(reference, key)) for key in QUANTITIES}
        self.ratios = {key: value for key, value in pairs.items() if value is not None}

"""Pair results with a module and without it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .plan import Study
from .result_files import Result


class Comparison(NamedTuple):
    """A module against its control on one dataset.

    Attributes:
        data_set: Its name.
        module: Name of the detector with the module.
        control: Name of the detector without it.
        pairs: Their results, one pair per seed.
    """

    data_set: str
    module: str
    control: str
    pairs: list[tuple[Result, Result]]

    def differences(self, metric: str) -> list[float]:
        """Compute the differences per seed; empty if the metric is undefined."""
        values = [(one['metrics'][metric], other['metrics'][metric]) for one, other in self.pairs]
        return [one - other for one, other in values if None not in (one, other)]


def find_comparisons(study: Study, made: Sequence[Result]) -> Iterator[Comparison]:
    """Pair the results of each comparison by seed; results without a pair are dropped."""
    found = {(each['data_set'], each['detector'], each['seed']): each for each in made}
    for data_set in dict.fromkeys(run.data_set for run in study.runs):
        for module, control in study.comparisons:
            keys = [key for key in found if key[:2] == (data_set, module)]
            pairs = [
                (found[key], found[data_set, control, key[2]])
                for key in keys
                if (data_set, control, key[2]) in found
            ]
            if pairs:
                yield Comparison(data_set, module, control, pairs)

"""Problems of a dataset: what breaks or silently changes training, and what may be intended."""

from collections.abc import Iterable
from dataclasses import dataclass

NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Problem:
    """One kind of problem in a dataset.

    Attributes:
        name: Short name.
        message: Description and consequence, in sentences.
        count: Number of occurrences.
        examples: The first records or images that have it.
        is_warning: Whether it may be intended; otherwise it breaks or silently changes training.
    """

    name: str
    message: str
    count: int
    examples: list[str]
    is_warning: bool

    def __str__(self) -> str:
        kind = 'warning' if self.is_warning else 'PROBLEM'
        more = ', ...' if self.count > len(self.examples) else ''
        examples = ', '.join(self.examples) + more
        return f'{kind} {self.name} ({self.count}): {self.message} Here: {examples}'


def problem_of(
    name: str, message: str, culprits: Iterable[object], is_warning: bool = False
) -> list[Problem]:
    """Make a list of the problem that some records have; empty if there are no such records.

    Args:
        name: Short name of the problem.
        message: Description and consequence, in sentences.
        culprits: Names or ids of the records.
        is_warning: Whether it may be intended.
    """
    names = [str(culprit) for culprit in culprits]
    if not names:
        return []
    return [Problem(name, message, len(names), names[:NUM_EXAMPLES], is_warning)]

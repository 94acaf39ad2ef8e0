"""Findings of the checks: problems, which break or silently change training, and warnings."""

from collections.abc import Iterable
from dataclasses import dataclass

NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of defect.

    Attributes:
        check: Short name of the defect.
        message: Description and consequence.
        count: Number of occurrences.
        examples: The first records or images with the defect.
        is_problem: Whether it breaks or silently changes training; otherwise a warning.
    """

    check: str
    message: str
    count: int
    examples: list[str]
    is_problem: bool

    def __str__(self) -> str:
        kind = 'PROBLEM' if self.is_problem else 'warning'
        more = ', ...' if self.count > len(self.examples) else ''
        examples = ', '.join(self.examples) + more
        return f'{kind} {self.check} ({self.count}): {self.message} Here: {examples}'


def find(
    check: str, message: str, culprits: Iterable[object], is_problem: bool = True
) -> list[Finding]:
    """Create the finding of one kind of defect.

    Args:
        check: Short name of the defect.
        message: Description and consequence, in sentences.
        culprits: Names or ids of the records with the defect.
        is_problem: Whether it breaks or silently changes training.

    Returns:
        A list with the finding, empty if no record has the defect.
    """
    names = [str(culprit) for culprit in culprits]
    if not names:
        return []
    return [Finding(check, message, len(names), names[:NUM_EXAMPLES], is_problem)]

"""What the checks found: problems, which break or silently change a training, and warnings."""

from collections.abc import Iterable
from dataclasses import dataclass

NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of defect.

    Attributes:
        check: Short name of the defect, for scripts.
        message: What it is and what follows from it.
        count: How often it occurs.
        examples: The first records or images that have it.
        is_problem: Whether it breaks or silently changes a training; else it is a warning.
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


class Findings:
    """Collects what the checks find.

    Attributes:
        all: The findings in the order of the checks.
    """

    def __init__(self) -> None:
        self.all: list[Finding] = []

    @property
    def problems(self) -> list[Finding]:
        """The findings that break or silently change a training."""
        return [finding for finding in self.all if finding.is_problem]

    @property
    def warnings(self) -> list[Finding]:
        """The other findings."""
        return [finding for finding in self.all if not finding.is_problem]

    def add(
        self, check: str, message: str, culprits: Iterable[object], is_problem: bool = True
    ) -> None:
        """Note a kind of defect, unless nothing has it.

        Args:
            check: Short name of the defect.
            message: What it is and what follows from it, in sentences.
            culprits: Names or ids of what has the defect.
            is_problem: Whether it breaks or silently changes a training.
        """
        names = [str(culprit) for culprit in culprits]
        if names:
            self.all.append(Finding(check, message, len(names), names[:NUM_EXAMPLES], is_problem))

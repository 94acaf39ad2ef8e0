"""What one line of a comparison has measured."""

from dataclasses import dataclass, field

from .timing import Ratio, ratio
from .workload import Entry, Settings

MEASURES = ('predict_seconds', 'train_seconds', 'predict_mib', 'train_mib')


@dataclass
class Row:
    """What one entry costs, and its ratios to the reference. What was not measured is empty.

    Attributes:
        title: Name in tables.
        entry: What was measured.
        images: Number of images in a batch.
        parameters: Number of trained and frozen parameters.
        trained_parameters: Number of those that have gradients.
        gmacs: Multiply-adds of convolutions and matrix products of one image's forward pass by
            part, in units of 1e9; a RoI head's for 1000 proposals.
        predict_seconds: Time of each round of inference.
        train_seconds: Time of each round of a training step.
        parts: Times of inference by part, in rounds of their own.
        predict_mib: Peak memory of inference, in MiB.
        train_mib: Peak memory of a training step, in MiB.
        proposals: Number of proposals of a two-stage detector with random weights.
        survivors: How many of them have a class whose score exceeds the threshold.
        failure: Why something is missing, in a sentence.
        ratios: For each measured quantity, how it compares with the reference.
    """

    title: str
    entry: Entry
    images: int = 1
    parameters: int | None = None
    trained_parameters: int | None = None
    gmacs: dict[str, float] = field(default_factory=dict)
    predict_seconds: list[float] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    predict_mib: float | None = None
    train_mib: float | None = None
    proposals: int | None = None
    survivors: int | None = None
    failure: str | None = None
    ratios: dict[str, Ratio] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict) -> 'Row':
        """Read a row of a report.

        Args:
            values: What the report's JSON file holds of it.

        Returns:
            The row.
        """
        entry = Entry(**{**values['entry'], 'settings': Settings(**values['entry']['settings'])})
        ratios = {key: Ratio(**ratio) for key, ratio in values['ratios'].items()}
        return cls(**{**values, 'entry': entry, 'ratios': ratios})


def compare_rows(row: Row, reference: Row) -> dict[str, Ratio]:
    """Divide what both rows have.

    Args:
        row: Any.
        reference: Of the same comparison.

    Returns:
        Ratios of times round by round, and of memory; none of a matrix product to a network.
    """
    ratios = {}
    if row.entry.kind != reference.entry.kind:
        return ratios
    for key in MEASURES:
        ours, stock = getattr(row, key), getattr(reference, key)
        if ours and stock:
            many = isinstance(ours, list)
            ratios[key] = ratio(ours, stock) if many else ratio([ours], [stock])
    return ratios

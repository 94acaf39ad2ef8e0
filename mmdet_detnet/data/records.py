"""What all formats are read into, images with labeled boxes, and problems of a dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ('train', 'val', 'test')
NUM_EXAMPLES = 5

Point = Sequence[float]
Box = tuple[float, float, float, float]
Segmentation = list[list[float]] | dict[str, object]
# The culprits of each kind of problem.
Found = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """An object.

    Attributes:
        label: Name of its class.
        box: Left, top, width and height, in pixels.
        is_crowd: Whether it is a crowd, neither trained on nor counted.
        segmentation: Its mask in COCO format, polygons or run-length encoding; None if it has none.
        area: Area of the mask in square pixels; None for that of the box.
    """

    label: str
    box: Box
    is_crowd: bool = False
    segmentation: Segmentation | None = None
    area: float | None = None

    @classmethod
    def of_polygon(cls, label: str, points: Sequence[Point]) -> 'LabeledBox':
        """Make an object of the corners of a polygon in order, with its mask and area."""
        pairs = zip(points, [*points[1:], points[0]], strict=True)
        doubled = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)
        ring = [value for point in points for value in point]
        return cls(label, outline_box(points), segmentation=[ring], area=abs(doubled) / 2)


def outline_box(points: Sequence[Point]) -> Box:
    """Compute the left, top, width and height of the box around points ``(x, y)``."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image with its objects.

    Attributes:
        path: The file.
        boxes: The objects; empty for background.
        source: The annotation file; None for background without one.
        split: One of ``SPLITS``, as in the dataset; empty if unknown.
        size: Width and height from the annotations, in pixels; None for those of the file.
    """

    path: Path
    boxes: Sequence[LabeledBox]
    source: Path | None = None
    split: str = ''
    size: tuple[int, int] | None = None


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
    names = [*culprits]
    if not names:
        return []
    return [Problem(name, message, len(names), [*map(str, names[:NUM_EXAMPLES])], is_warning)]


def list_warnings(messages: Mapping[str, str], found: Found) -> list[Problem]:
    """Make warnings of what has been found, in the order of their messages."""
    return [
        problem
        for name, message in messages.items()
        for problem in problem_of(name, message, found.get(name, ()), is_warning=True)
    ]


@dataclass
class LabeledSet:
    """A dataset, read from any format.

    Attributes:
        images: The images.
        classes: Class names in the order of the format; may be incomplete.
        problems: What was skipped or assumed.
    """

    images: list[LabeledImage]
    classes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def all_classes(self) -> list[str]:
        """List the format's classes, then other classes found, sorted."""
        occurring = {box.label for image in self.images for box in image.boxes}
        return [*self.classes, *sorted(occurring - set(self.classes))]

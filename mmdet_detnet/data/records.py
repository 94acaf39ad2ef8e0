"""What all formats are read into, images with labeled boxes, and problems of a dataset."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ('train', 'val', 'test')
NUM_EXAMPLES = 5
UNKNOWN_SIZE = (-1, -1)

Box = tuple[float, float, float, float]  # left, top, width and height, in pixels
Segmentation = list[list[float]] | dict[str, object]  # polygons, or a run-length encoding


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """An object of a class, perhaps with a mask."""

    label: str
    box: Box
    is_crowd: bool = False  # neither trained on nor counted
    segmentation: Segmentation | None = None
    area: float | None = None  # of the mask, in square pixels; None for that of the box

    @classmethod
    def of_polygon(cls, label: str, points: Sequence[Sequence[float]]) -> 'LabeledBox':
        """Make an object of the corners of a polygon in order, with its mask and area."""
        pairs = zip(points, [*points[1:], points[0]], strict=True)
        doubled = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)
        ring = [value for point in points for value in point]
        return cls(label, outline_box(points), segmentation=[ring], area=abs(doubled) / 2)


def outline_box(points: Sequence[Sequence[float]]) -> Box:
    """Compute the box around points ``(x, y)``."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image with its objects."""

    path: Path
    boxes: Sequence[LabeledBox]
    source: Path | None = None  # the annotation file; None for background without one
    split: str = ''  # one of SPLITS, as in the dataset; empty if unknown
    size: tuple[int, int] = UNKNOWN_SIZE  # width and height, in pixels


@dataclass(frozen=True)
class Problem:
    """One kind of problem in a dataset."""

    name: str
    message: str  # description and consequence, in sentences
    count: int  # of occurrences
    examples: list[str]  # the first records or images that have it
    is_warning: bool  # it may be intended; otherwise it breaks or silently changes training

    def __str__(self) -> str:
        kind = 'warning' if self.is_warning else 'PROBLEM'
        more = ', ...' if self.count > len(self.examples) else ''
        examples = ', '.join(self.examples) + more
        return f'{kind} {self.name} ({self.count}): {self.message} Here: {examples}'


class Problems:
    """Collects the problems of a dataset, by a text: name, colon, description and consequence."""

    def __init__(self) -> None:
        self._culprits: dict[tuple[str, bool], list[object]] = defaultdict(list)

    def add(self, text: str, culprits: Iterable[object], is_warning: bool = False) -> None:
        """Add records or images, perhaps none, that have a problem."""
        self._culprits[text, is_warning] += culprits

    def warn(self, text: str, *culprits: object) -> None:
        """Add records or images that have a problem which may be intended."""
        self.add(text, culprits, is_warning=True)

    def __iter__(self) -> Iterator[Problem]:
        for (text, is_warning), culprits in self._culprits.items():
            if culprits:
                name, _, message = text.partition(': ')
                examples = [*map(str, culprits[:NUM_EXAMPLES])]
                yield Problem(name, message, len(culprits), examples, is_warning)

    def print(self) -> None:
        """Print one line for each."""
        for problem in self:
            print(problem, flush=True)


def box_of_corners(corners: Sequence[float], place: str, problems: Problems) -> Box:
    """Compute the box between two corners, and warn if the second is not right of and below."""
    left, top, right, bottom = corners
    if right < left or bottom < top:
        text = 'boxes with left and right, or top and bottom, swapped. Read the other way round.'
        problems.warn(f'corners-swapped: {text}', place)
    return outline_box([(left, top), (right, bottom)])


@dataclass
class LabeledSet:
    """A dataset, read from any format."""

    images: list[LabeledImage]
    classes: list[str] = field(default_factory=list)  # in the format's order; may be incomplete
    problems: list[Problem] = field(default_factory=list)  # what was skipped or assumed

    def all_classes(self) -> list[str]:
        """List the format's classes, then other classes found, sorted."""
        occurring = {box.label for image in self.images for box in image.boxes}
        return [*self.classes, *sorted(occurring - set(self.classes))]

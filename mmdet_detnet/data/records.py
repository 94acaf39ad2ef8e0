"""What all formats are read into, images with labeled boxes, and problems of a dataset."""

import math
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
    def of_polygons(cls, label: str, *polygons: Sequence[Sequence[float]]) -> 'LabeledBox':
        """Make an object of the corners of its polygons in order, with its mask and area."""
        area = 0.0
        for points in polygons:
            pairs = zip(points, [*points[1:], points[0]], strict=True)
            doubled = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)
            area += abs(doubled) / 2
        rings = [[value for point in points for value in point] for points in polygons]
        box = outline_box([point for points in polygons for point in points])
        return cls(label, box, segmentation=rings, area=area)


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


def known_size(width: object, height: object) -> tuple[int, int]:
    """Take a size from annotations, as numbers or text; some tools leave it out, or write 0."""
    sides = [int(text) if (text := str(side)).isdecimal() else 0 for side in (width, height)]
    return (sides[0], sides[1]) if all(sides) else UNKNOWN_SIZE


def box_of_corners(corners: Sequence[float], place: str, problems: Problems) -> Box:
    """Compute the box between two corners, and warn if the second is not right of and below."""
    left, top, right, bottom = corners
    if right < left or bottom < top:
        text = 'boxes with left and right, or top and bottom, swapped. Read the other way round.'
        problems.warn(f'corners-swapped: {text}', place)
    return outline_box([(left, top), (right, bottom)])


def enclose_rotated(box: Box, rotation: object, place: str, problems: Problems) -> Box:
    """Compute the box around one that is rotated about its center, by degrees, as in CVAT."""
    try:
        angle = math.radians(float(str(rotation)) % 360)
    except ValueError:
        return box
    if not angle > 0:
        return box
    text = 'rotated-box: boxes with an attribute "rotation", of CVAT. Enclosing boxes are used.'
    problems.warn(text, place)
    left, top, width, height = box
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    across, down = width * cos + height * sin, width * sin + height * cos
    return left + (width - across) / 2, top + (height - down) / 2, across, down


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

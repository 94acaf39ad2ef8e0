"""The common representation of all formats: images with labeled boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmdet_detnet.data.problems import Problem

Segmentation = list[list[float]] | dict[str, object]


@dataclass(frozen=True)
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
    box: tuple[float, float, float, float]
    is_crowd: bool = False
    segmentation: Segmentation | None = None
    area: float | None = None


@dataclass(frozen=True)
class LabeledImage:
    """An image with its objects.

    Attributes:
        path: The file.
        boxes: The objects; empty for background.
        split: ``'train'``, ``'val'`` or ``'test'`` in the data set; empty if unknown.
        size: Width and height from the annotations, in pixels; None for those of the file.
    """

    path: Path
    boxes: Sequence[LabeledBox]
    split: str = ''
    size: tuple[int, int] | None = None


@dataclass
class LabeledSet:
    """A data set, read from any format.

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

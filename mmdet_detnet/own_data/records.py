"""What every format is read into: images with labeled boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmdet_detnet.analysis.dataset import Finding

Segmentation = list[list[float]] | dict[str, object]


@dataclass(frozen=True)
class LabeledBox:
    """An object.

    Attributes:
        label: Name of its class.
        box: Left, top, width and height, in pixels.
        is_crowd: Whether it is neither trained on nor counted.
        segmentation: Its mask as COCO has it, polygons or a run-length encoding; None without.
        area: Area of the mask in square pixels; None means that of the box.
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
        boxes: The objects; none means background.
        split: ``'train'``, ``'val'`` or ``'test'`` as the data set has it; empty if it does not.
        size: Width and height that the annotations state, in pixels; None means those of the file.
    """

    path: Path
    boxes: Sequence[LabeledBox]
    split: str = ''
    size: tuple[int, int] | None = None


@dataclass
class LabeledSet:
    """A data set, whatever its format was.

    Attributes:
        images: The images.
        classes: Names of the classes in the order that the format has, which may be incomplete.
        findings: What was left out or assumed.
    """

    images: list[LabeledImage]
    classes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def all_classes(self) -> list[str]:
        """List the format's classes, then the others that occur, sorted."""
        occurring = {box.label for image in self.images for box in image.boxes}
        return [*self.classes, *sorted(occurring - set(self.classes))]

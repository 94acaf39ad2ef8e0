"""The errors of a detector, image by image: what it missed, found without reason or confused."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_utils

from .metrics import IOU_THR, Detection, GroundTruth, Match


class Box(NamedTuple):
    """A detection or a missed object.

    ``bbox`` is left, top, width and height in pixels. ``found`` is the label of the detection, -1
    for a missed object; ``true`` that of the object, -1 for a detection without one.
    """

    bbox: Sequence[float]
    score: float | None
    found: int
    true: int

    @property
    def kind(self) -> str:
        """One of 'hit', 'miss', 'false' and 'wrong' (an object that is detected as another)."""
        if self.found < 0:
            return 'miss'
        if self.true < 0:
            return 'false'
        return 'hit' if self.found == self.true else 'wrong'


class ImageErrors(NamedTuple):
    """An image with its boxes; one of a wrong class is an error twice: missed and false."""

    file_name: str
    path: str
    boxes: Sequence[Box]

    @property
    def missed(self) -> int:
        """Number of objects without a detection of their class."""
        return sum(box.kind in ('miss', 'wrong') for box in self.boxes)

    @property
    def false(self) -> int:
        """Number of detections without an object of their class."""
        return sum(box.kind in ('false', 'wrong') for box in self.boxes)


def find_errors(
    truth: GroundTruth,
    detections: Sequence[Detection],
    matches: Sequence[Match],
    score_thr: float,
) -> list[ImageErrors]:
    """List the boxes of each image; what is left after matching is paired across classes.

    Only detections with a score above ``score_thr`` count; ``matches`` are those of
    :func:`.match_boxes`.
    """
    boxes, unmatched, unfound = (defaultdict[Any, list[Box]](list) for _ in range(3))
    labels = {category: label for label, category in enumerate(truth.classes)}
    for match in matches:
        image, label = match['image_id'], labels[match['category_id']]
        counted = set()
        for number, partner, ignored in zip(
            match['dtIds'], match['dtMatches'][0], match['dtIgnore'][0], strict=True
        ):
            bbox, score = detections[number - 1]['bbox'], detections[number - 1]['score']
            if score > score_thr and not ignored:
                counted.add(number)
                side = boxes if partner else unmatched
                side[image].append(Box(bbox, score, label, label if partner else -1))
        for number, partner, ignored in zip(
            match['gtIds'], match['gtMatches'][0], match['gtIgnore'], strict=True
        ):
            if not ignored and partner not in counted:
                bbox = truth.annotations[number - 1]['bbox']
                unfound[image].append(Box(bbox, None, -1, label))
    for image in {*unmatched, *unfound}:
        boxes[image] += _pair(unmatched[image], unfound[image])
    return [
        ImageErrors(image['file_name'], image['path'], boxes[image['id']]) for image in truth.images
    ]


def _pair(detections: Sequence[Box], objects: Sequence[Box]) -> list[Box]:
    """Let each detection, best first, take the object of another class that it overlaps most."""
    detections = sorted(detections, key=lambda box: box.score or 0, reverse=True)
    no_crowds = [0] * len(objects)
    boxes = [[each.bbox for each in side] for side in (detections, objects)]
    ious = mask_utils.iou(*boxes, no_crowds) if all(boxes) else np.zeros((len(detections), 0))
    left, paired = dict(enumerate(objects)), []
    for detection, overlaps in zip(detections, ious, strict=True):
        fitting = [
            index
            for index, each in left.items()
            if overlaps[index] >= IOU_THR and each.true != detection.found
        ]
        if fitting:
            taken = left.pop(max(fitting, key=lambda index: overlaps[index]))
            detection = detection._replace(true=taken.true)
        paired.append(detection)
    return paired + list(left.values())


def confuse(images: Sequence[ImageErrors], num_classes: int) -> np.ndarray:
    """Count objects by their class (row) and that of their detection (column).

    The last row counts detections without an object, the last column missed objects.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    for image in images:
        for box in image.boxes:
            matrix[box.true, box.found] += 1
    return matrix

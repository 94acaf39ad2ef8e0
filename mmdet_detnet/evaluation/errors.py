"""Find the missed, false and confused detections of a detector, per image.

MMDetection's ``confusion_matrix.py`` counts an object once per overlapping detection, and stops at
an image without objects. Here, each object has at most one detection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.structures.bbox import bbox_overlaps

from .detections import CROWD_SHARE

DPI = 100
INCHES_PER_CLASS = 0.6
BACKGROUND = 'background'


@dataclass
class Errors:
    """Detections compared with the ground truth.

    Attributes:
        classes: Class names.
        matrix: Objects by their class (row) and that of their detection (column). The last row
            counts detections without an object, the last column objects without a detection.
        missed: Objects without a detection of their class, by image id.
        false_positives: Detections without an object of their class, by image id.
    """

    classes: Sequence[str]
    matrix: np.ndarray
    missed: dict[Any, int] = field(default_factory=dict)
    false_positives: dict[Any, int] = field(default_factory=dict)

    def worst(self, num_images: int) -> list[Any]:
        """List the images with most errors.

        Args:
            num_images: Maximum number of images.

        Returns:
            Their ids, except images without errors.
        """
        errors = {image: self.missed[image] + self.false_positives[image] for image in self.missed}
        ordered = sorted(errors, key=lambda image: -errors[image])
        return [image for image in ordered if errors[image]][:num_images]


def find_errors(
    samples: Iterable[Mapping[str, Any]],
    truths: Mapping[Any, Sequence[Mapping[str, Any]]],
    classes: Sequence[str],
    score_thr: float = 0.3,
    iou_thr: float = 0.5,
) -> Errors:
    """Compare detections with the ground truth.

    In the order of their scores, detections take the best remaining object: one of their own class
    if it overlaps enough, otherwise one of another class.

    Args:
        samples: ``img_id`` and ``pred_instances`` of each image.
        truths: The objects by image id, as in mmdet. Crowds are not missed, and detections in them
            are no false positives.
        classes: Class names.
        score_thr: Only detections with a higher score count.
        iou_thr: Minimum IoU of a detection with its object.

    Returns:
        The missed and confused objects and the false positives.
    """
    errors = Errors(classes, np.zeros((len(classes) + 1, len(classes) + 1), int))
    for sample in samples:
        image = sample['img_id']
        truth = truths[image]
        pairs = match_objects(sample['pred_instances'], truth, score_thr, iou_thr)
        for true_label, found_label in pairs:
            errors.matrix[true_label, found_label] += 1
        wrong = [pair for pair in pairs if pair[0] != pair[1]]
        errors.missed[image] = sum(true_label >= 0 for true_label, _ in wrong)
        errors.false_positives[image] = sum(found_label >= 0 for _, found_label in wrong)
    return errors


def match_objects(
    prediction: Mapping[str, torch.Tensor],
    instances: Sequence[Mapping[str, Any]],
    score_thr: float,
    iou_thr: float,
) -> list[tuple[int, int]]:
    """Match the detections and the objects of one image.

    Args:
        prediction: ``bboxes`` (corners in pixels of the original image), ``labels``, ``scores``.
        instances: ``bbox``, ``bbox_label`` and ``ignore_flag`` of each object.
        score_thr: Only detections with a higher score count.
        iou_thr: Minimum IoU of a detection with its object.

    Returns:
        Pairs of labels of object and detection; -1 for none.
    """
    order = prediction['scores'].argsort(descending=True)
    order = order[prediction['scores'][order] > score_thr]
    boxes, labels = prediction['bboxes'][order], prediction['labels'][order].tolist()
    crowds = [each for each in instances if each['ignore_flag']]
    objects = [each for each in instances if not each['ignore_flag']]
    ious = bbox_overlaps(boxes, _boxes(objects)).tolist()
    in_crowds = bbox_overlaps(boxes, _boxes(crowds), mode='iof').tolist()
    left = set(range(len(objects)))
    pairs = []
    for label, overlaps, in_crowd in zip(labels, ious, in_crowds, strict=True):
        fitting = [index for index in left if overlaps[index] >= iou_thr]
        if fitting:
            best = max(fitting, key=lambda i: (objects[i]['bbox_label'] == label, overlaps[i]))
            left.remove(best)
            pairs.append((objects[best]['bbox_label'], label))
        elif not any(share > CROWD_SHARE for share in in_crowd):
            pairs.append((-1, label))
    return pairs + [(objects[index]['bbox_label'], -1) for index in sorted(left)]


def _boxes(instances: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    return torch.tensor([each['bbox'] for each in instances]).reshape(-1, 4).float()


def draw_matrix(errors: Errors, out: Path) -> None:
    """Plot the confusion matrix, shaded by the fraction of each row.

    Args:
        errors: The errors.
        out: Image to write.
    """
    names = [*errors.classes, BACKGROUND]
    side = 3 + INCHES_PER_CLASS * len(names)
    figure = Figure((side, side), DPI, layout='constrained')
    axes = figure.subplots()
    shares = errors.matrix / np.maximum(errors.matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(errors.matrix):
        color = 'white' if shares[row, column] > 0.5 else 'black'
        axes.text(column, row, str(count), ha='center', va='center', color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right', parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel='detected as', ylabel='is')
    figure.savefig(out)

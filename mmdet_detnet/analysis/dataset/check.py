"""All checks of a data set in one call."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from .anchors import check_sizes
from .annotation_file import Record, check_fields, read_annotation_file
from .boxes import check_boxes
from .classes import check_classes
from .findings import Finding
from .images import check_images
from .proportions import check_proportions
from .references import check_references
from .report import Report
from .retained import check_retained, find_retained
from .statistics import count_boxes, resized_sizes
from .training_config import TrainingConfig, read_training_config


def check_dataset(
    annotation_file: str | Path,
    images: str | Path,
    config: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    allow_subset: bool = False,
    num_workers: int = 2,
) -> Report:
    """Check a data set in COCO format before training on it.

    Every image is decoded. The checks look for what stops mmdet, for what it drops or mixes up
    without a word, and for boxes that the anchors do not fit.

    Args:
        annotation_file: JSON file in COCO format.
        images: Folder in which the file names of its images start.
        config: Config to train with: its classes, image scale and anchors are checked against the
            data. Without it, the classes are the file's and the anchors Faster R-CNN's.
        classes: Names of the classes in order, instead of the config's.
        allow_subset: Whether categories with boxes may be left out of the classes.
        num_workers: How many images are decoded at a time.

    Returns:
        What was found and counted. ``report.problems`` would break or silently change training,
        ``report.warnings`` may be as intended; ``print(report)`` shows all of it.

    Raises:
        FileNotFoundError: If the annotation file or the config is missing.
        ValueError: If one of them cannot be used at all.
    """
    training = read_training_config(Path(config)) if config else TrainingConfig()
    training = replace(training, classes=classes or training.classes)
    read_images = partial(check_images, folder=Path(images), num_workers=num_workers)
    return check_annotations(annotation_file, training, read_images, allow_subset)


def check_annotations(
    annotation_file: str | Path,
    training: TrainingConfig,
    read_images: Callable[[list[Record]], list[Finding]],
    allow_subset: bool = False,
) -> Report:
    """Check an annotation file, with a check of the image files given.

    Args:
        annotation_file: JSON file in COCO format.
        training: What to train with.
        read_images: Checks the files of the images whose records it gets.
        allow_subset: Whether categories with boxes may be left out of the classes.

    Returns:
        As of :func:`check_dataset`.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it cannot be used at all.
    """
    whole_file = read_annotation_file(Path(annotation_file))
    file, findings = check_fields(whole_file)
    file, vanishing = check_proportions(file, training.rescale)
    findings += vanishing + check_references(file, whole_file) + check_boxes(file)
    if training.classes is not None:
        findings += check_classes(file, training.classes, allow_subset)
    findings += read_images(file.images)
    retained = find_retained(file, training.classes, training.filter_cfg)
    sizes = resized_sizes(retained, training)
    findings += check_retained(file, retained)
    if training.anchors is not None:
        findings += check_sizes(retained, sizes, training.anchors)
    return Report(
        annotation_file=str(annotation_file),
        findings=findings,
        num_images=len(file.images),
        num_used_images=len(retained.images),
        rows=count_boxes(file, retained),
        sizes=sizes,
        scale=training.scale,
        anchors=training.anchors,
    )

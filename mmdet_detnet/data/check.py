"""Run all checks of a data set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from .anchors import check_sizes
from .annotation_file import Record, check_fields, read_annotation_file
from .box_counts import count_boxes, resized_sizes
from .boxes import check_boxes
from .classes import check_classes
from .dataset_check import DatasetCheck
from .images import check_images
from .problems import Problem
from .proportions import check_proportions
from .references import check_references
from .retained import check_retained, find_retained
from .training_config import TrainingConfig, read_training_config


def check_dataset(
    annotation_file: str | Path,
    images: str | Path,
    config: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    allow_subset: bool = False,
    num_workers: int = 2,
) -> DatasetCheck:
    """Check a data set in COCO format before training on it.

    Decodes every image. Finds what stops mmdet, what it silently drops or mixes up, and boxes that
    do not fit the anchors.

    Args:
        annotation_file: JSON file in COCO format.
        images: Folder that the file names of its images are relative to.
        config: Config to train with: its classes, image scale and anchors are checked against the
            data. Without it, the classes are from the file and the anchors from Faster R-CNN.
        classes: Class names in order, instead of the config's.
        allow_subset: Whether categories with boxes may be missing from the classes.
        num_workers: Number of images decoded at a time.

    Returns:
        Problems and counts. ``report.problems`` would break or silently change training;
        ``report.warnings`` may be intended. ``print(report)`` shows all.

    Raises:
        FileNotFoundError: If the annotation file or the config is missing.
        ValueError: If either is unusable.
    """
    training = read_training_config(Path(config)) if config else TrainingConfig()
    training = replace(training, classes=classes or training.classes)
    read_images = partial(check_images, folder=Path(images), num_workers=num_workers)
    return check_annotations(annotation_file, training, read_images, allow_subset)


def check_annotations(
    annotation_file: str | Path,
    training: TrainingConfig,
    read_images: Callable[[list[Record]], list[Problem]],
    allow_subset: bool = False,
) -> DatasetCheck:
    """Check an annotation file, with a given check of image files.

    Args:
        annotation_file: JSON file in COCO format.
        training: Config to train with.
        read_images: Checks the image files of given records.
        allow_subset: Whether categories with boxes may be missing from the classes.

    Returns:
        As for :func:`check_dataset`.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it is unusable.
    """
    whole_file = read_annotation_file(Path(annotation_file))
    file, problems = check_fields(whole_file)
    file, vanishing = check_proportions(file, training.rescale)
    problems += vanishing + check_references(file, whole_file) + check_boxes(file)
    if training.classes is not None:
        problems += check_classes(file, training.classes, allow_subset)
    problems += read_images(file.images)
    retained = find_retained(file, training.classes, training.filter_cfg)
    sizes = resized_sizes(retained, training)
    problems += check_retained(file, retained)
    if training.anchors is not None:
        problems += check_sizes(retained, sizes, training.anchors)
    return DatasetCheck(
        annotation_file=str(annotation_file),
        all_problems=problems,
        num_images=len(file.images),
        num_used_images=len(retained.images),
        rows=count_boxes(file, retained),
        sizes=sizes,
        scale=training.scale,
        anchors=training.anchors,
    )

"""Check a dataset in COCO format before training on it, or the datasets of a config."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict

from .anchors import check_sizes
from .annotation_file import AnnotationFile, check_fields, read_annotation_file
from .boxes import (
    DROPPED_BOXES,
    check_boxes,
    check_classes,
    check_kept,
    count_boxes,
    select_kept,
)
from .dataset_check import DatasetCheck
from .images import check_images, find_shared_pictures, find_small_values, read_images, sample
from .problems import Problem
from .training_config import (
    TrainingConfig,
    check_colors,
    check_proportions,
    measure_boxes,
    read_training_config,
)

LOADERS = ('train_dataloader', 'val_dataloader')
# Before training, the headers of at most so many images of a dataset are read.
NUM_HEADERS = 1000
# COCO itself has a few dropped boxes; more than this fraction is an error.
DROPPED_SHARE = 0.01


def check_dataset(
    annotation_file: str | Path,
    images: str | Path,
    config: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    allow_subset: bool = False,
    other_splits: Sequence[str | Path] = (),
    decode: bool | None = None,
    num_workers: int | None = None,
) -> DatasetCheck:
    """Check a dataset in COCO format before training on it.

    Finds what stops mmdet, what it silently drops or mixes up, boxes that do not fit the anchors,
    and pictures that another split includes as well.

    Args:
        annotation_file: JSON file in COCO format.
        images: Folder that the file names of its images are relative to.
        config: Config to train with: its classes, image scale and anchors are checked against the
            data. Without it, the classes are from the file and the anchors from Faster R-CNN.
        classes: Class names in order, instead of the config's.
        allow_subset: Whether categories with boxes may be missing from the classes.
        other_splits: Annotation files of other splits, with images in the same folder.
        decode: Whether to decode all images, which finds damaged files and equal pictures, instead
            of reading their headers; None to decode up to 2,000 images.
        num_workers: Number of images read at a time; None for one per core.

    Returns:
        Problems and counts. ``check.problems`` would break or silently change training;
        ``check.warnings`` may be intended. ``print(check)`` shows all.

    Raises:
        FileNotFoundError: If an annotation file or the config is missing.
        ValueError: If one is unusable.
    """
    training = read_training_config(Path(config)) if config else TrainingConfig()
    training = replace(training, classes=classes or training.classes)
    folder = Path(images)
    check = check_annotations(
        annotation_file, training, folder, allow_subset, decode=decode, num_workers=num_workers
    )
    splits = {str(annotation_file): check.pictures}
    for file in other_splits:
        records, _ = check_fields(read_annotation_file(Path(file)))
        paths = [folder / image['file_name'] for image in records.images]
        states = read_images(paths, decode, num_workers)
        splits[str(file)] = {
            path: state.thumbnail for path, state in zip(paths, states, strict=True)
        }
    check.all_problems.extend(find_shared_pictures(splits))
    return check


def check_annotations(
    annotation_file: str | Path,
    training: TrainingConfig,
    folder: Path,
    allow_subset: bool = False,
    *,
    file: AnnotationFile | None = None,
    max_images: int | None = None,
    decode: bool | None = None,
    num_workers: int | None = None,
) -> DatasetCheck:
    """Check an annotation file and its images for a config that is read already.

    Args:
        annotation_file: JSON file in COCO format.
        training: Config to train with.
        folder: Folder of the images.
        allow_subset: Whether categories with boxes may be missing from the classes.
        file: Content of the file; None to read it.
        max_images: Maximum number of image files to read, evenly spaced; None for all.
        decode: As for :func:`check_dataset`.
        num_workers: As for :func:`check_dataset`.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If it is unusable.
    """
    file = read_annotation_file(Path(annotation_file)) if file is None else file
    file, problems = check_fields(file)
    file, vanishing = check_proportions(file, training.rescale)
    problems += vanishing + check_boxes(file) + check_colors(training)
    if training.classes is not None:
        problems += check_classes(file, training.classes, allow_subset)
    records = sample(file.images, max_images or len(file.images) or 1)
    paths = [folder / image['file_name'] for image in records]
    states = read_images(paths, decode, num_workers)
    problems += check_images(records, states, folder)
    small = None if training.scales_values else find_small_values(paths)
    problems += small.problems() if small else []
    kept = select_kept(file, training.classes, training.filter_cfg)
    sizes = measure_boxes(kept, training.rescale)
    problems += check_kept(file, kept)
    if training.anchors is not None:
        problems += check_sizes(kept, sizes, training.anchors)
    return DatasetCheck(
        annotation_file=str(annotation_file),
        all_problems=problems,
        num_images=len(file.images),
        num_used_images=len(kept.images),
        rows=count_boxes(file, kept),
        sizes=sizes,
        scale=training.scale,
        anchors=training.anchors,
        pictures={path: state.thumbnail for path, state in zip(paths, states, strict=True)},
    )


def check_training_data(config: Config) -> list[DatasetCheck]:
    """Check the training and validation annotations of a config without decoding images.

    Skips datasets in other formats than COCO's, and files that are not on this machine.

    Returns:
        One result per annotation file.

    Raises:
        ValueError: If an annotation file is unusable or missing.
    """
    register_all_modules(init_default_scope=False)
    datasets = [each for name in LOADERS for each in _find_coco_datasets(config.get(name))]
    training = read_training_config(config) if datasets else TrainingConfig()
    checks = []
    for dataset in datasets:
        if not Path(dataset.ann_file).is_file():
            raise ValueError(f'the annotation file {dataset.ann_file} does not exist.')
        folder = Path(dataset.data_prefix.get('img', ''))
        checks.append(
            check_annotations(
                dataset.ann_file, training, folder, max_images=NUM_HEADERS, decode=False
            )
        )
    return checks


def report_training_data(config: Config) -> list[str]:
    """Print the checks of the training and validation data, and list what should stop training."""
    stopping = []
    checks = check_training_data(config)
    for check in checks:
        problems = find_stopping_problems(check)
        others = [problem for problem in check.all_problems if problem not in problems]
        print(check.headline, *others, sep='\n', flush=True)
        stopping += [f'{check.annotation_file}: {problem}' for problem in problems]
    for problem in find_shared_pictures({each.annotation_file: each.pictures for each in checks}):
        print(problem, flush=True)
    return stopping


def find_stopping_problems(check: DatasetCheck) -> list[Problem]:
    """Select the problems that should stop training: all except single boxes that are dropped."""
    num_boxes = sum(row['in file'] for row in check.rows)
    return [
        problem
        for problem in check.problems
        if problem.name not in DROPPED_BOXES or problem.count > DROPPED_SHARE * num_boxes
    ]


def _find_coco_datasets(loader: ConfigDict | None) -> Iterator[CocoDataset]:
    for options in _leaves((loader or {}).get('dataset') or {}):
        kind = options.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if kind is CocoDataset and '://' not in str(options.get('data_root', '')):
            yield DATASETS.build({**options, 'lazy_init': True, 'pipeline': []})


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Unwrap datasets that repeat, join or mix others."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if inner == [None]:
        yield dataset
        return
    for each in inner:
        yield from _leaves(each)

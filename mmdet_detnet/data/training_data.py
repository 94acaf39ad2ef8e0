"""Checks before training: annotation files of a config, and image headers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict

from .boxes import DROPPED
from .check import check_annotations
from .dataset_check import DatasetCheck
from .images import check_headers
from .problems import Problem
from .training_config import read_training_config

LOADERS = ('train_dataloader', 'val_dataloader')
# COCO itself has a few dropped boxes; more than this fraction is an error.
DROPPED_SHARE = 0.01


def check_training_data(config: Config) -> list[DatasetCheck]:
    """Check the training and validation annotations of a config without decoding images.

    Skips data sets in other formats than COCO's, and files that are not on this machine.

    Returns:
        One report per annotation file.

    Raises:
        ValueError: If an annotation file is unusable or missing.
    """
    register_all_modules(init_default_scope=False)
    datasets = [each for name in LOADERS for each in _find_coco_datasets(config.get(name))]
    if not datasets:
        return []
    training = read_training_config(config)
    reports = []
    for dataset in datasets:
        if not Path(dataset.ann_file).is_file():
            raise ValueError(f'the annotation file {dataset.ann_file} does not exist.')
        images = Path(dataset.data_prefix.get('img', ''))
        read_images = partial(check_headers, folder=images)
        reports.append(check_annotations(dataset.ann_file, training, read_images))
    return reports


def report_training_data(config: Config) -> list[str]:
    """Print the checks of the training and validation data, and list what should stop training."""
    stopping = []
    for report in check_training_data(config):
        problems = find_stopping_problems(report)
        others = [problem for problem in report.all_problems if problem not in problems]
        print(report.headline, *others, sep='\n', flush=True)
        stopping += [f'{report.annotation_file}: {problem}' for problem in problems]
    return stopping


def find_stopping_problems(report: DatasetCheck) -> list[Problem]:
    """Select the problems that should stop training.

    Args:
        report: Result of the checks.

    Returns:
        All problems except single boxes that are dropped.
    """
    num_boxes = sum(row['in file'] for row in report.rows)
    return [
        problem
        for problem in report.problems
        if problem.name not in DROPPED or problem.count > DROPPED_SHARE * num_boxes
    ]


def _find_coco_datasets(loader: ConfigDict | None) -> Iterator[CocoDataset]:
    for options in _leaves((loader or {}).get('dataset') or {}):
        kind = options.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if kind is CocoDataset and '://' not in str(options.get('data_root', '')):
            yield DATASETS.build({**options, 'lazy_init': True, 'pipeline': []})


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Unwrap data sets that repeat, join or mix others."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if inner == [None]:
        yield dataset
        return
    for each in inner:
        yield from _leaves(each)

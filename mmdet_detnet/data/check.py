"""Check a dataset in COCO format before training on it, or the datasets of a config."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from tabulate import tabulate

from . import annotation_rules as rules
from .image_rules import check_images, find_shared_pictures, find_small_values, sample
from .images import read_images
from .records import Problem, Problems
from .training_config import Anchors, TrainingConfig, keep_size, read_training_config

# Before training, the headers of at most so many images of a dataset are read.
NUM_HEADERS = 1000
# COCO itself has a few dropped boxes; more than this fraction is an error.
DROPPED_SHARE = 0.01
NOT_DECODED = (
    'Only the headers of the images were read. tools/check_dataset.py --decode finds damaged files '
    'and pictures that are in two splits.'
)


@dataclass(frozen=True)
class DatasetCheck:
    """Result of the checks of an annotation file and its images.

    Attributes:
        annotation_file: Path of the file.
        all_problems: Problems and warnings.
        num_images: Number of images in the file.
        num_used_images: Number of images that CocoDataset trains on.
        rows: Numbers of boxes, one row per class.
        sizes: Square roots of the boxes' areas, in pixels.
        scale: Description of the image that the pixels refer to.
        anchors: Range of the anchors; None if the detector has none.
        pictures: Images, with their thumbnails where they were decoded, else None.
    """

    annotation_file: str
    all_problems: list[Problem]
    num_images: int
    num_used_images: int
    rows: list[dict[str, Any]]
    sizes: np.ndarray
    scale: str
    anchors: Anchors | None
    pictures: dict[Path, np.ndarray | None]

    @property
    def problems(self) -> list[Problem]:
        """The problems that break or silently change training."""
        return [problem for problem in self.all_problems if not problem.is_warning]

    @property
    def warnings(self) -> list[Problem]:
        """The other problems."""
        return [problem for problem in self.all_problems if problem.is_warning]

    @property
    def stopping_problems(self) -> list[Problem]:
        """The problems that should stop training: all except single boxes that are dropped."""
        most = DROPPED_SHARE * sum(row['in file'] for row in self.rows)
        dropped = rules.DROPPED_BOXES
        return [each for each in self.problems if each.name not in dropped or each.count > most]

    @property
    def headline(self) -> str:
        """Summary of the training data in one sentence."""
        kept = sum(row['kept'] for row in self.rows)
        return (
            f'{self.annotation_file}: CocoDataset uses {self.num_used_images} of '
            f'{self.num_images} images, with {kept} boxes.'
        )

    def __str__(self) -> str:
        lines = [self.headline, '', tabulate(self.rows, headers='keys', tablefmt='github'), '']
        if len(self.sizes):
            low, middle, high = np.percentile(self.sizes, (5, 50, 95))
            sizes = f'median {middle:.0f} pixels, 5 to 95 %: {low:.0f} to {high:.0f}'
            covered = 'The detector has no anchors.'
            if self.anchors:
                share = self.anchors.share(self.sizes)
                covered = f'Anchors {self.anchors} cover {share:.0%} of them.'
            lines += [f'Size of the boxes, sqrt(area) {self.scale}: {sizes}.', covered, '']
        lines += map(str, self.problems + self.warnings)
        if self.pictures and all(each is None for each in self.pictures.values()):
            lines.append(NOT_DECODED)
        lines.append(f'Problems: {len(self.problems)}, warnings: {len(self.warnings)}.')
        return '\n'.join(lines)


def check_dataset(
    annotation_file: str | Path,
    images: str | Path,
    config: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    allow_subset: bool = False,
    other_splits: Sequence[str | Path] = (),
    decode: bool | None = None,
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
            of reading their headers; None to decode them if there are at most 2,000.

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
    check = check_annotations(annotation_file, training, folder, allow_subset, decode=decode)
    splits = {str(annotation_file): check.pictures}
    for file in other_splits:
        splits[str(file)] = check_annotations(file, training, folder, decode=decode).pictures
    check.all_problems.extend(find_shared_pictures(splits))
    return check


def check_annotations(
    annotation_file: str | Path,
    training: TrainingConfig,
    folder: Path,
    allow_subset: bool = False,
    *,
    content: rules.Content | None = None,
    max_images: int | None = None,
    decode: bool | None = None,
) -> DatasetCheck:
    """Check an annotation file and the images in a folder as :func:`check_dataset` does.

    ``content`` is that of the file, None to read it. At most ``max_images`` image files are read,
    evenly spaced; None for all.
    """
    content = rules.read_annotation_file(Path(annotation_file)) if content is None else content
    problems = Problems()
    content = rules.check_fields(content, problems)
    boxes = rules.Boxes.of_file(content)
    rules.check_boxes(boxes, problems)
    if training.classes is not None:
        rules.check_classes(content, training.classes, allow_subset, problems)
    records = sample(content['images'], max_images or len(content['images']) or 1)
    paths = [folder / image['file_name'] for image in records]
    states = read_images(paths, decode)
    check_images(records, states, folder, problems)
    small_values = None if training.scales_values else find_small_values(paths)
    if small_values:
        small_values.report(problems)
    kept = rules.select_kept(content, boxes, training.classes, training.filter_cfg)
    rules.check_kept(content, kept, problems)
    sizes = kept.boxes.measure(training.rescale)
    if training.anchors is not None:
        rules.check_sizes(kept.boxes, sizes, training.anchors, problems)
    is_original = training.rescale is keep_size
    return DatasetCheck(
        annotation_file=str(annotation_file),
        all_problems=[*problems],
        num_images=len(content['images']),
        num_used_images=len(kept.images),
        rows=rules.count_boxes(content, kept),
        sizes=sizes,
        scale='in the original image' if is_original else "after the config's resizing",
        anchors=training.anchors,
        pictures={path: state.thumbnail for path, state in zip(paths, states, strict=True)},
    )


def check_training_data(config: Config) -> list[DatasetCheck]:
    """Check the training and validation files of a config in COCO format, without decoding images.

    Files that are not on this machine are skipped.

    Raises:
        ValueError: If an annotation file is unusable or missing.
    """
    register_all_modules(init_default_scope=False)
    loaders = [config.get(f'{split}_dataloader') or {} for split in ('train', 'val')]
    datasets = [each for loader in loaders for each in _find_coco(loader.get('dataset') or {})]
    training = read_training_config(config) if datasets else TrainingConfig()
    checks = []
    for dataset in datasets:
        file, folder = dataset.ann_file, Path(dataset.data_prefix.get('img', ''))
        if not Path(file).is_file():
            raise ValueError(f'the annotation file {file} does not exist.')
        check = check_annotations(file, training, folder, max_images=NUM_HEADERS, decode=False)
        checks.append(check)
    return checks


def _find_coco(options: ConfigDict) -> Iterator[CocoDataset]:
    """Build the datasets in COCO format, also those that others repeat, join or mix."""
    for inner in options.get('datasets') or filter(None, [options.get('dataset')]):
        yield from _find_coco(inner)
    kind = options.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if kind is CocoDataset and '://' not in str(options.get('data_root', '')):
        yield DATASETS.build({**options, 'lazy_init': True, 'pipeline': []})


def report_training_data(config: Config) -> list[str]:
    """Print the checks of the training and validation data, and list what should stop training."""
    stopping = []
    checks = check_training_data(config)
    for check in checks:
        problems = check.stopping_problems
        others = [problem for problem in check.all_problems if problem not in problems]
        print(check.headline, *others, sep='\n', flush=True)
        stopping += [f'{check.annotation_file}: {problem}' for problem in problems]
    find_shared_pictures({each.annotation_file: each.pictures for each in checks}).print()
    return stopping


def draw_distributions(check: DatasetCheck, out: Path) -> None:
    """Plot a histogram of sizes next to the number of boxes per class, into the image ``out``."""
    names = [row['class'] for row in check.rows]
    figure = Figure((12, max(4.5, 1 + 0.22 * len(names))), dpi=120, layout='constrained')
    figure.suptitle(check.headline, parse_math=False)
    sizes, classes = figure.subplots(1, 2)

    sizes.set_xscale('log', base=2)
    sizes.xaxis.set_major_formatter(ScalarFormatter())
    sizes.set(xlabel=f'sqrt(area) {check.scale}, in pixels', ylabel='boxes', title='Sizes')
    if len(check.sizes):
        # Five bins per octave.
        first, last = np.floor(5 * np.log2([check.sizes.min(), check.sizes.max()]))
        sizes.hist(check.sizes, 2 ** (np.arange(first, last + 2) / 5))
    if check.anchors is not None:
        sizes.axvspan(check.anchors.smallest, check.anchors.largest, color='C2', alpha=0.15)
        sizes.set_title(f'Sizes; anchors {check.anchors}')

    start = np.zeros(len(names))
    for size in rules.SIZE_BINS:
        counts = np.array([row[size] for row in check.rows])
        classes.barh(range(len(names)), counts, left=start, label=size)
        start += counts
    classes.set_yticks(range(len(names)), names, parse_math=False)
    classes.invert_yaxis()
    classes.set(xlabel='boxes', title="Classes, by COCO's sizes in the original image")
    classes.legend()
    figure.savefig(out)

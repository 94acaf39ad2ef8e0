"""Check a dataset in COCO format before training on it, or the datasets of a config."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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

from mmdet_detnet.files import OutputFolder

from .annotation_rules import (
    DROPPED_BOXES,
    SIZE_BINS,
    AnnotationFile,
    Boxes,
    check_boxes,
    check_classes,
    check_fields,
    check_kept,
    count_boxes,
    read_annotation_file,
    select_kept,
)
from .image_rules import check_images, find_shared_pictures, find_small_values, sample
from .images import read_images
from .records import Problem
from .training_config import (
    Anchors,
    TrainingConfig,
    check_colors,
    check_proportions,
    check_sizes,
    measure_boxes,
    read_training_config,
    share_inside,
    suggest_anchors,
)

LOADERS = ('train_dataloader', 'val_dataloader')
# Before training, the headers of at most so many images of a dataset are read.
NUM_HEADERS = 1000
# COCO itself has a few dropped boxes; more than this fraction is an error.
DROPPED_SHARE = 0.01
PERCENTILES = (5, 50, 95)
NOT_DECODED = (
    'Only the headers of the images were read. tools/check_dataset.py --decode finds damaged files '
    'and pictures that are in two splits.'
)
# The plot.
DPI = 120
WIDTH_INCHES = 12
HEIGHT_INCHES = 4.5
INCHES_PER_CLASS = 0.22
BINS_PER_OCTAVE = 5


@dataclass(frozen=True)
class DatasetCheck:
    """Result of the checks of an annotation file and its images.

    Attributes:
        annotation_file: Path of the file.
        all_problems: Problems and warnings.
        num_images: Number of images in the file.
        num_used_images: Number of images that CocoDataset trains on.
        rows: Numbers of boxes, one row per class, from :func:`.annotation_rules.count_boxes`.
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
        return [
            each for each in self.problems if each.name not in DROPPED_BOXES or each.count > most
        ]

    @property
    def headline(self) -> str:
        """Summary of the training data in one sentence."""
        return (
            f'{self.annotation_file}: CocoDataset uses {self.num_used_images} of '
            f'{self.num_images} images, with {self._num_kept} boxes.'
        )

    @property
    def _num_kept(self) -> int:
        return sum(row['kept'] for row in self.rows)

    def __str__(self) -> str:
        is_decoded = any(each is not None for each in self.pictures.values()) or not self.pictures
        lines = [
            self.headline,
            '',
            tabulate(self.rows, headers='keys', tablefmt='github'),
            '',
            *self._size_lines(),
            *map(str, self.problems + self.warnings),
            *([] if is_decoded else [NOT_DECODED]),
            f'Problems: {len(self.problems)}, warnings: {len(self.warnings)}.',
        ]
        return '\n'.join(lines)

    def _size_lines(self) -> list[str]:
        if not len(self.sizes):
            return []
        low, middle, high = self._percentiles().values()
        line = (
            f'Size of the boxes, sqrt(area) {self.scale}: median {middle:.0f} pixels, '
            f'{PERCENTILES[0]} to {PERCENTILES[-1]} %: {low:.0f} to {high:.0f}.'
        )
        if self.anchors is None:
            return [line, 'The detector has no anchors.', '']
        share = share_inside(self.sizes, self.anchors)
        return [line, f'Anchors {self.anchors} cover {share:.0%} of them.', '']

    def _percentiles(self) -> dict[str, float]:
        if not len(self.sizes):
            return {}
        values = np.percentile(self.sizes, PERCENTILES).round(1).tolist()
        return dict(zip(map(str, PERCENTILES), values, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Convert the result for a JSON file: problems, numbers of images and boxes, anchors."""
        anchors = self.anchors and {
            'smallest': self.anchors.smallest,
            'largest': self.anchors.largest,
            'share_inside': round(share_inside(self.sizes, self.anchors), 4),
            'suggestion': suggest_anchors(self.sizes, self.anchors),
        }
        return {
            'annotation_file': self.annotation_file,
            'problems': [asdict(problem) for problem in self.problems],
            'warnings': [asdict(problem) for problem in self.warnings],
            'images': self.num_images,
            'used_images': self.num_used_images,
            'kept_boxes': self._num_kept,
            'classes': self.rows,
            'size_percentiles': self._percentiles(),
            'anchors': anchors,
        }


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
    """Check an annotation file and its images as :func:`check_dataset` does.

    Args:
        annotation_file: JSON file in COCO format.
        training: The parts of a config that the data is compared with.
        folder: Folder of the images.
        allow_subset: As there.
        file: Content of the file; None to read it.
        max_images: Maximum number of image files to read, evenly spaced; None for all.
        decode: As there.
        num_workers: As there.
    """
    file = read_annotation_file(Path(annotation_file)) if file is None else file
    file, problems = check_fields(file)
    file, vanishing = check_proportions(file, training.rescale)
    boxes = Boxes.of_file(file)
    problems += vanishing + check_boxes(boxes, len(file.annotations)) + check_colors(training)
    if training.classes is not None:
        problems += check_classes(file, training.classes, allow_subset)
    records = sample(file.images, max_images or len(file.images) or 1)
    paths = [folder / image['file_name'] for image in records]
    states = read_images(paths, decode, num_workers)
    problems += check_images(records, states, folder)
    small = None if training.scales_values else find_small_values(paths)
    problems += small.problems() if small else []
    kept = select_kept(file, boxes, training.classes, training.filter_cfg)
    sizes = measure_boxes(kept.boxes, training.rescale)
    problems += check_kept(file, kept)
    if training.anchors is not None:
        problems += check_sizes(kept.boxes, sizes, training.anchors)
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
        problems = check.stopping_problems
        others = [problem for problem in check.all_problems if problem not in problems]
        print(check.headline, *others, sep='\n', flush=True)
        stopping += [f'{check.annotation_file}: {problem}' for problem in problems]
    for problem in find_shared_pictures({each.annotation_file: each.pictures for each in checks}):
        print(problem, flush=True)
    return stopping


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


def write_check(check: DatasetCheck, out_dir: str | Path) -> tuple[Path, Path]:
    """Write the result of the checks as JSON, with a plot of the distributions.

    Args:
        check: Result of the checks.
        out_dir: Folder for both; it is made if it is missing.

    Returns:
        The JSON file and the plot, named after the annotation file.

    Raises:
        FileExistsError: If there is a file of this name that is not from an earlier check.
    """
    output = OutputFolder(out_dir)
    name = Path(check.annotation_file).stem
    names = f'{name}_check.json', f'{name}_boxes.png'
    output.check(*names)
    text, plot = map(output.path, names)
    text.write_text(json.dumps(check.as_dict(), indent=1))
    draw_distributions(check, plot)
    return text, plot


def draw_distributions(check: DatasetCheck, out: Path) -> None:
    """Plot a histogram of sizes next to the number of boxes per class, into the image ``out``."""
    height = max(HEIGHT_INCHES, 1 + INCHES_PER_CLASS * len(check.rows))
    figure = Figure((WIDTH_INCHES, height), DPI, layout='constrained')
    figure.suptitle(check.headline, parse_math=False)
    sizes, classes = figure.subplots(1, 2)

    sizes.set_xscale('log', base=2)
    if len(check.sizes):
        first, last = np.floor(np.log2([check.sizes.min(), check.sizes.max()]) * BINS_PER_OCTAVE)
        sizes.hist(check.sizes, 2 ** (np.arange(first, last + 2) / BINS_PER_OCTAVE))
    if check.anchors is not None:
        low, high = check.anchors.smallest, check.anchors.largest
        sizes.axvspan(low, high, color='C2', alpha=0.15, label=f'anchors, {low:g} to {high:g}')
        sizes.legend()
    sizes.set(xlabel=f'sqrt(area) {check.scale}, in pixels', ylabel='boxes', title='Sizes')
    sizes.xaxis.set_major_formatter(ScalarFormatter())

    names = [row['class'] for row in check.rows]
    start = np.zeros(len(names))
    for size in SIZE_BINS:
        counts = np.array([row[size] for row in check.rows])
        classes.barh(range(len(names)), counts, left=start, label=size)
        start += counts
    classes.set_yticks(range(len(names)), names, parse_math=False)
    classes.invert_yaxis()
    classes.set(xlabel='boxes', title="Classes, by COCO's sizes in the original image")
    classes.legend()
    figure.savefig(out)

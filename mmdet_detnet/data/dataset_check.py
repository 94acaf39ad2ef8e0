"""The result of checking a dataset: as text, as JSON and as a plot."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from tabulate import tabulate

from mmdet_detnet.files import OutputFolder

from .anchors import Anchors, share_inside, suggest_anchors
from .boxes import SIZE_BINS
from .problems import Problem

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
        rows: Numbers of boxes, one row per class, from :func:`.boxes.count_boxes`.
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
    def headline(self) -> str:
        """Summary of the training data in one sentence."""
        return (
            f'{self.annotation_file}: CocoDataset uses {self.num_used_images} of '
            f'{self.num_images} images, with {self._num_kept} boxes.'
        )

    @property
    def _is_decoded(self) -> bool:
        return any(each is not None for each in self.pictures.values()) or not self.pictures

    @property
    def _num_kept(self) -> int:
        return sum(row['kept'] for row in self.rows)

    def __str__(self) -> str:
        lines = [
            self.headline,
            '',
            tabulate(self.rows, headers='keys', tablefmt='github'),
            '',
            *self._size_lines(),
            *map(str, self.problems + self.warnings),
            *([] if self._is_decoded else [NOT_DECODED]),
            f'Problems: {len(self.problems)}, warnings: {len(self.warnings)}.',
        ]
        return '\n'.join(lines)

    def _size_lines(self) -> list[str]:
        if not len(self.sizes):
            return []
        low, middle, high = self._percentiles().values()
        lines = [
            f'Size of the boxes, sqrt(area) {self.scale}: median {middle:.0f} pixels, '
            f'{PERCENTILES[0]} to {PERCENTILES[-1]} %: {low:.0f} to {high:.0f}.'
        ]
        if self.anchors is None:
            return [*lines, 'The detector has no anchors.', '']
        lines.append(
            f'Anchors from {self.anchors.smallest:g} to {self.anchors.largest:g} pixels cover '
            f'{share_inside(self.sizes, self.anchors):.0%} of them.'
        )
        return [*lines, '']

    def _percentiles(self) -> dict[str, float]:
        if not len(self.sizes):
            return {}
        values = np.percentile(self.sizes, PERCENTILES).round(1).tolist()
        return dict(zip(map(str, PERCENTILES), values, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Convert the result for a JSON file: problems, numbers of images and boxes, anchors."""
        return {
            'annotation_file': self.annotation_file,
            'problems': [asdict(problem) for problem in self.problems],
            'warnings': [asdict(problem) for problem in self.warnings],
            'images': self.num_images,
            'used_images': self.num_used_images,
            'kept_boxes': self._num_kept,
            'classes': self.rows,
            'size_percentiles': self._percentiles(),
            'anchors': self._describe_anchors(),
        }

    def _describe_anchors(self) -> dict[str, Any] | None:
        if self.anchors is None:
            return None
        return {
            'smallest': self.anchors.smallest,
            'largest': self.anchors.largest,
            'share_inside': round(share_inside(self.sizes, self.anchors), 4),
            'suggestion': suggest_anchors(self.sizes, self.anchors),
        }


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
    """Plot a histogram of sizes next to the number of boxes per class.

    Args:
        check: Result of the checks.
        out: Image to write.
    """
    height = max(HEIGHT_INCHES, 1 + INCHES_PER_CLASS * len(check.rows))
    figure = Figure((WIDTH_INCHES, height), DPI, layout='constrained')
    figure.suptitle(check.headline, parse_math=False)
    size_axes, class_axes = figure.subplots(1, 2)
    _draw_sizes(size_axes, check)
    _draw_classes(class_axes, check)
    figure.savefig(out)


def _draw_sizes(axes: Axes, check: DatasetCheck) -> None:
    axes.set_xscale('log', base=2)
    if len(check.sizes):
        first, last = np.floor(np.log2([check.sizes.min(), check.sizes.max()]) * BINS_PER_OCTAVE)
        axes.hist(check.sizes, 2 ** (np.arange(first, last + 2) / BINS_PER_OCTAVE))
    if check.anchors is not None:
        low, high = check.anchors.smallest, check.anchors.largest
        axes.axvspan(low, high, color='C2', alpha=0.15, label=f'anchors, {low:g} to {high:g}')
        axes.legend()
    axes.set(xlabel=f'sqrt(area) {check.scale}, in pixels', ylabel='boxes', title='Sizes')
    axes.xaxis.set_major_formatter(ScalarFormatter())


def _draw_classes(axes: Axes, check: DatasetCheck) -> None:
    names = [row['class'] for row in check.rows]
    start = np.zeros(len(names))
    for size in SIZE_BINS:
        counts = np.array([row[size] for row in check.rows])
        axes.barh(range(len(names)), counts, left=start, label=size)
        start += counts
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel='boxes', title="Classes, by COCO's sizes in the original image")
    axes.legend()

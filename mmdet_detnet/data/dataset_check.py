"""The result of the checks, as text and for a JSON file."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from .anchors import Anchors, share_inside, suggest_anchors
from .problems import Problem

PERCENTILES = (5, 50, 95)


@dataclass(frozen=True)
class DatasetCheck:
    """Result of the checks.

    Attributes:
        annotation_file: Path of the file.
        all_problems: Problems and warnings.
        num_images: Number of images in the file.
        num_used_images: Number of images that CocoDataset trains on.
        rows: Numbers of boxes, one row per class, from :func:`count_boxes`.
        sizes: Square roots of the boxes' areas, in pixels.
        scale: Description of the image that the pixels refer to.
        anchors: Range of the anchors; None if the detector has none.
    """

    annotation_file: str
    all_problems: list[Problem]
    num_images: int
    num_used_images: int
    rows: list[dict[str, Any]]
    sizes: np.ndarray
    scale: str
    anchors: Anchors | None

    @property
    def problems(self) -> list[Problem]:
        """The problems that break or silently change training."""
        return [problem for problem in self.all_problems if not problem.is_warning]

    @property
    def warnings(self) -> list[Problem]:
        """The other problems."""
        return [problem for problem in self.all_problems if problem.is_warning]

    @property
    def num_retained(self) -> int:
        """Number of boxes that CocoDataset trains on."""
        return sum(row['retained'] for row in self.rows)

    @property
    def headline(self) -> str:
        """Summary of the training data in one sentence."""
        return (
            f'{self.annotation_file}: CocoDataset uses {self.num_used_images} of '
            f'{self.num_images} images, with {self.num_retained} boxes.'
        )

    def as_dict(self) -> dict[str, Any]:
        """Convert the report for a JSON file.

        Returns:
            ``problems``, ``warnings``, numbers of images and boxes, and ``anchors``.
        """
        return {
            'annotation_file': self.annotation_file,
            'problems': [asdict(problem) for problem in self.problems],
            'warnings': [asdict(problem) for problem in self.warnings],
            'images': self.num_images,
            'used_images': self.num_used_images,
            'retained_boxes': self.num_retained,
            'classes': self.rows,
            'size_percentiles': self._percentiles(),
            'anchors': self._describe_anchors(),
        }

    def __str__(self) -> str:
        lines = [
            self.headline,
            '',
            tabulate(self.rows, headers='keys', tablefmt='github'),
            '',
            *self._size_lines(),
            *map(str, self.problems + self.warnings),
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

    def _describe_anchors(self) -> dict[str, Any] | None:
        if self.anchors is None:
            return None
        return {
            'smallest': self.anchors.smallest,
            'largest': self.anchors.largest,
            'share_inside': round(share_inside(self.sizes, self.anchors), 4),
            'suggestion': suggest_anchors(self.sizes, self.anchors),
        }

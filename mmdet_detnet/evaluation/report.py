"""The report of a detector on the test images of its config."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import mmdet
import numpy as np
import torch
from mmengine.runner import Runner
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader

from mmdet_detnet.arguments import reject
from mmdet_detnet.training.runs import find_checkpoint, find_work_dir
from mmdet_detnet.version import __version__

from .errors import ImageErrors, confuse, find_errors
from .loading import load_detector, read_ground_truth, run_detector, silence
from .metrics import (
    Counts,
    Detection,
    GroundTruth,
    Ranking,
    choose_thresholds,
    coco_figures,
    match_boxes,
    mean_precision,
    name_metrics,
    pool,
    rank,
)
from .score_threshold import DEFAULT_SCORE_THR, ScoreThresholds, write_score_thr

SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SCORE_GRID = np.linspace(0, 1, 101)


class ClassRow(NamedTuple):
    """The figures of a class; undefined ones are None.

    ``images`` have such objects, ``objects`` are without crowds, ``ap`` is the mean over IoU
    thresholds from 0.5 to 0.95, and ``counts`` are at the score ``score_thr``.
    """

    name: str
    images: int
    objects: int
    ap: float | None
    ap50: float | None
    score_thr: float
    counts: Counts


@dataclass(frozen=True)
class Report:
    """What a detector is good for.

    Attributes:
        figures: COCO's twelve, by :data:`.FIGURES`; undefined ones are None.
        mask_figures: Those of instance masks; empty if the detector has none.
        score_thr: The scores that were used; see ``source`` for where they are from.
        total: All classes, at the score for all.
        classes: Each class, at its own score.
        moves: What other scores for all classes give.
        precisions: Precision at recalls of 0, 0.01 ... 1 and an IoU of 0.5, one row per class; NaN
            for a class without objects.
        f1: F1 at scores of 0, 0.01 ... 1, one row per class and one for all; NaN where undefined.
        matrix: As of :func:`.confuse`, at the score for all.
        images: The errors at the score for all, in the order of the dataset.
        source: What was tested and how, as text by topic.
    """

    figures: Mapping[str, float | None]
    mask_figures: Mapping[str, float | None]
    score_thr: ScoreThresholds
    total: ClassRow
    classes: Sequence[ClassRow]
    moves: Sequence[tuple[float, Counts]]
    precisions: np.ndarray
    f1: np.ndarray
    matrix: np.ndarray
    images: Sequence[ImageErrors]
    source: dict[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The average precisions, as :func:`.name_metrics` returns them."""
        return name_metrics(self.figures) | name_metrics(self.mask_figures, 'segm')

    def worst(self, num_images: int) -> list[ImageErrors]:
        """List the images with most errors, without those that have none."""
        wrong = [image for image in self.images if image.missed + image.false]
        return sorted(wrong, key=lambda image: -image.missed - image.false)[:num_images]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return {
            'source': dict(self.source),
            'figures': dict(self.figures),
            'mask_figures': dict(self.mask_figures),
            'score_thr': self.score_thr.to_dict(),
            'classes': [_flatten(row._asdict()) for row in (self.total, *self.classes)],
            'scores': [_flatten({'score': score, 'counts': c}) for score, c in self.moves],
            'confusion_matrix': self.matrix.tolist(),
            'images': [
                {'file_name': image.file_name, 'missed': image.missed, 'false': image.false}
                for image in self.images
            ],
        }


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    counts = values.pop('counts')
    rates = {name: getattr(counts, name) for name in ('precision', 'recall', 'f1')}
    return {**values, **counts._asdict(), **rates}


def make_report(
    truth: GroundTruth,
    detections: Sequence[Detection],
    score_thr: ScoreThresholds = DEFAULT_SCORE_THR,
    source: dict[str, str] | None = None,
) -> Report:
    """Compare detections with the objects.

    Detections are as in COCO: ``image_id``, ``category_id``, ``bbox``, ``score``, and
    ``segmentation`` (RLE) of a detector of masks. Only those with a score above ``score_thr``
    count, except for average precision. ``source`` tells what was tested and how.
    """
    figures, precisions = coco_figures(truth, detections)
    has_masks = any('segmentation' in each for each in detections)
    matches = match_boxes(truth, detections)
    rankings = rank(truth, matches)
    pooled = pool(rankings)
    images = find_errors(truth, detections, matches, score_thr.all)
    images_of: dict[int, set[Any]] = {category: set() for category in truth.classes}
    for each in truth.annotations:
        if not each['iscrowd']:
            images_of[each['category_id']].add(each['image_id'])
    rows = []
    for index, (category, name) in enumerate(truth.classes.items()):
        own_thr = score_thr.classes.get(name, score_thr.all)
        row = ClassRow(
            name,
            len(images_of[category]),
            rankings[index].objects,
            mean_precision(precisions[..., index]),
            mean_precision(precisions[:1, ..., index]),
            own_thr,
            rankings[index].count_above(own_thr),
        )
        rows.append(row)
    total = ClassRow(
        'all classes',
        len(set[Any]().union(*images_of.values())),
        pooled.objects,
        figures['AP'],
        figures['AP50'],
        score_thr.all,
        pooled.count_above(score_thr.all),
    )
    return Report(
        figures,
        coco_figures(truth, detections, 'segm')[0] if has_masks else {},
        score_thr,
        total,
        rows,
        [(score, pooled.count_above(score)) for score in sorted({*SCORES, score_thr.all})],
        np.where(precisions[0] < 0, np.nan, precisions[0]).T,
        np.array([_f1_curve(each) for each in (*rankings, pooled)]),
        confuse(images, len(rows)),
        images,
        source or {},
    )


def _f1_curve(ranking: Ranking) -> list[float]:
    values = (ranking.count_above(score).f1 for score in SCORE_GRID)
    return [math.nan if value is None else value for value in values]


def test(
    config: str | Path,
    checkpoint: str | Path | None = None,
    work_dir: str | Path | None = None,
    score_thr: float | None = None,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> Report:
    """Test a detector at the scores that are best on the validation images.

    The scores are kept with the checkpoint, as :func:`.write_score_thr` does.

    Args:
        config: Config file of the detector, with datasets in COCO's format.
        checkpoint: Its weights; None for the best of the run.
        work_dir: Work directory of the run; None for the config's.
        score_thr: Only detections with a higher score count; None for the best scores.
        cfg_options: Settings that override the config's, as for ``tools/test.py``.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Raises:
        ValueError: If a dataset is not in COCO's format, ``score_thr`` is not in [0, 1], or as in
            :func:`.load_detector`.
    """
    if score_thr is not None and not 0 <= score_thr <= 1:
        reject('test', 'score_thr', score_thr, 'in [0, 1]')
    work_dir = Path(work_dir or find_work_dir(Path(config)))
    checkpoint = checkpoint or find_checkpoint(work_dir)
    with silence():
        model = load_detector(config, checkpoint, cfg_options, device, allow_mismatch)
        loader = Runner.build_dataloader(model.cfg.test_dataloader)
    truth = read_ground_truth(loader.dataset)
    detections = list(run_detector(model, loader))
    if score_thr is None:
        used, reason = _choose_score_thr(model, loader, truth, detections)
        if used.classes and '://' not in str(checkpoint):
            reason += f'; kept in {shorten(write_score_thr(used, checkpoint, work_dir))}'
    else:
        used, reason = ScoreThresholds(score_thr, {}), 'as asked for'
    source = {
        'Config': shorten(config),
        'Checkpoint': shorten(checkpoint),
        'Images': f'{len(truth.images)} of {shorten(loader.dataset.ann_file)}',
        'Score': f'above {used.all:.3f}: {reason}',
        'Date': datetime.now().strftime('%Y-%m-%d %H:%M'),
        'Versions': f'mmdet_detnet {__version__}, mmdet {mmdet.__version__}, '
        f'torch {torch.__version__}',
    }
    return make_report(truth, detections, used, source)


def _choose_score_thr(
    model: nn.Module, loader: DataLoader, truth: GroundTruth, detections: Sequence[Detection]
) -> tuple[ScoreThresholds, str]:
    """Choose the scores on the validation images, and say how."""
    if model.cfg.get('val_dataloader') is None:
        return DEFAULT_SCORE_THR, 'the config has no validation images on which to choose one'
    with silence():
        val_loader = Runner.build_dataloader(model.cfg.val_dataloader)
    val_truth = read_ground_truth(val_loader.dataset)
    file = shorten(val_loader.dataset.ann_file)
    if os.path.realpath(val_loader.dataset.ann_file) == os.path.realpath(loader.dataset.ann_file):
        reason = 'the highest F1 on these same images, so F1 is optimistic'
    else:
        reason = f'the highest F1 on the validation images, {file}'
        truth, detections = val_truth, list(run_detector(model, val_loader))
    chosen = choose_thresholds(truth, detections)
    if chosen is None:
        reason = f'no detection is right in {file}, so no score could be chosen'
    return chosen or DEFAULT_SCORE_THR, reason


def shorten(path: str | Path) -> str:
    """Make a path relative if it is in the working directory; a URL stays as it is."""
    is_inside = '://' not in str(path) and Path(path).resolve().is_relative_to(Path.cwd())
    return os.path.relpath(path) if is_inside else str(path)


def format_report(report: Report) -> str:
    """Format the figures for the terminal."""
    lines = [f'{topic.lower():<10}  {text}' for topic, text in report.source.items()]
    for title, figures in (('boxes', report.figures), ('masks', report.mask_figures)):
        named = [f'{name} {format_rate(value)}' for name, value in figures.items()]
        for part in (named[:6], named[6:]):
            lines += [f'{title:<10}  {", ".join(part)}'] * bool(part)
    rows = [class_cells(row)[:9] for row in (*report.classes, report.total)]
    classes = _format_table(CLASS_COLUMNS[:9], rows)
    scores = _format_table(SCORE_COLUMNS, [score_cells(*move) for move in report.moves])
    return '\n'.join([*lines, '', classes, '', 'all classes at other scores', scores])


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Format metrics for the terminal, one per line."""
    return '\n'.join(f'{name}: {value:.3f}' for name, value in metrics.items())


CLASS_COLUMNS = (
    *('class', 'images', 'objects', 'AP', 'AP50'),
    *('score', 'precision', 'recall', 'F1', 'found', 'missed', 'false'),
)
SCORE_COLUMNS = CLASS_COLUMNS[5:]


def class_cells(row: ClassRow) -> list[str]:
    """Return the text of each of :data:`CLASS_COLUMNS`."""
    first = [row.name, str(row.images), str(row.objects), format_rate(row.ap)]
    return [*first, format_rate(row.ap50), *score_cells(row.score_thr, row.counts)]


def score_cells(score: float, counts: Counts) -> list[str]:
    """Return the text of each of :data:`SCORE_COLUMNS`."""
    rates = (score, counts.precision, counts.recall, counts.f1)
    return [*map(format_rate, rates), str(counts.found), str(counts.missed), str(counts.false)]


def format_rate(value: float | None) -> str:
    """Format a figure with three digits; an undefined one is a dash."""
    return '-' if value is None else f'{value:.3f}'


def _format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ('left', *['right'] * (len(columns) - 1))
    return tabulate(rows, columns, disable_numparse=True, colalign=align)

"""Compare the scores of detections with the IoU of their boxes.

For all detections and by the size of their objects: histograms of score and IoU, the share of
well-localized boxes (IoU > 0.5) that score under 0.5, and Pearson's and Spearman's correlation of
score and IoU.

- All detections of the test set with a score above ``score_thr`` count.
- The IoU of a detection is the highest with any ground truth of its class, or 0. Several detections
  may share one ground truth.
- Its size is the area of that ground truth in the original image (its own if there is none), with
  COCO's bounds of 32^2 and 96^2 pixels.
- It is ignored if more than half of it is in a crowd of its class, unless it is well localized on
  another object.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from mmengine.runner import Runner
from pycocotools import mask as mask_utils
from scipy.stats import pearsonr, spearmanr

from mmdet_detnet.data.annotation_rules import LARGE_AREA, MEDIUM_AREA
from mmdet_detnet.files import OutputFolder

from .loading import load_detector, read_ground_truth, run_detector

# A detection does not count if a larger fraction of it is in a crowd.
CROWD_SHARE = 0.5
WELL_LOCALIZED_IOU = 0.5
LOW_SCORE = 0.5
SIZES = {
    'all': (0, np.inf),
    'small': (0, MEDIUM_AREA),
    'medium': (MEDIUM_AREA, LARGE_AREA),
    'large': (LARGE_AREA, np.inf),
}
FILES = ('misalignment.json', 'misalignment.png')
NUM_BINS = 40
TILE_INCHES = 3.2


class Detections(NamedTuple):
    """Detections that count, as arrays of equal length."""

    scores: np.ndarray
    ious: np.ndarray  # with the best ground truth of the same class
    areas: np.ndarray  # of that ground truth, or of the detection if the IoU is 0, in pixels


def match_data_set(
    config: str | Path, checkpoint: str | Path, score_thr: float = 0.05, **options: Any
) -> Detections:
    """Compare the detections on a test set with its ground truth.

    Args:
        config: Config file of a detector; its ``test_dataloader`` names the dataset.
        checkpoint: Checkpoint of the detector.
        score_thr: Only detections with a higher score count.
        **options: As for :func:`.load_detector`, whose errors this raises.
    """
    model = load_detector(config, checkpoint, **options)
    loader = Runner.build_dataloader(model.cfg.test_dataloader)
    truth = read_ground_truth(loader.dataset)
    detections_of, objects_of = (defaultdict[Any, list[Any]](list) for _ in range(2))
    for each in run_detector(model, loader):
        detections_of[each['image_id']].append(each)
    for annotation in truth.annotations:
        objects_of[annotation['image_id']].append(annotation)
    images = [image['id'] for image in truth.images]
    matches = [match_image(detections_of[i], objects_of[i], score_thr) for i in images]
    return Detections(*map(np.concatenate, zip(*matches, strict=True)))


def match_image(
    detections: Sequence[Mapping[str, Any]], objects: Sequence[Mapping[str, Any]], score_thr: float
) -> Detections:
    """Compare the detections in one image with its ground truth, both as in COCO."""
    kept = [each for each in detections if each['score'] > score_thr]
    boxes = [each['bbox'] for each in kept]
    # The last object, of no class and without an area, stands for none.
    object_boxes = [*(each['bbox'] for each in objects), [0, 0, 0, 0]]
    categories = np.array([*(each['category_id'] for each in objects), None])
    is_crowd = np.array([*(bool(each['iscrowd']) for each in objects), False])
    scores = np.array([each['score'] for each in kept])
    if not kept:
        return Detections(scores, scores, scores)
    # For a crowd, this is the fraction of the detection that is in it.
    overlaps = mask_utils.iou(boxes, object_boxes, is_crowd.tolist())
    overlaps *= np.array([each['category_id'] for each in kept])[:, None] == categories
    ious = overlaps * ~is_crowd
    best = ious.argmax(1)
    ious, in_crowd = ious.max(1), (overlaps * is_crowd).max(1) > CROWD_SHARE
    own_areas, areas = (np.array([w * h for _, _, w, h in each]) for each in (boxes, object_boxes))
    counted = ~in_crowd | (ious > WELL_LOCALIZED_IOU)
    areas = np.where(ious > 0, areas[best], own_areas)
    return Detections(*(values[counted] for values in (scores, ious, areas)))


def summarize(detections: Detections) -> dict[str, float | int | None]:
    """Compute statistics of the misalignment of detections.

    Returns:
        The numbers of ``detections`` and of ``well_localized`` ones, the ``low_score_share`` of the
        latter, and ``pearson`` and ``spearman``, also for ``_well_localized`` ones; None if there
        are too few detections.
    """
    scores, ious, _ = detections
    good = ious > WELL_LOCALIZED_IOU
    return {
        'detections': len(scores),
        'well_localized': int(good.sum()),
        'low_score_share': float((scores[good] < LOW_SCORE).mean()) if good.any() else None,
        'pearson': _correlation(pearsonr, scores, ious),
        'spearman': _correlation(spearmanr, scores, ious),
        'pearson_well_localized': _correlation(pearsonr, scores[good], ious[good]),
        'spearman_well_localized': _correlation(spearmanr, scores[good], ious[good]),
    }


def _correlation(function: Callable, scores: np.ndarray, ious: np.ndarray) -> float | None:
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(ious) == 0:
        return None
    return float(function(scores, ious).statistic)


def write_misalignment(
    results: Sequence[tuple[str, Detections]], out_dir: str | Path, score_thr: float
) -> list[dict[str, Any]]:
    """Write ``misalignment.json`` and ``misalignment.png`` of the named detectors.

    Returns:
        For each detector, its ``name`` and the statistics of each size.
    """
    output = OutputFolder(out_dir)
    output.check(*FILES)
    report = []
    figure_size = (len(SIZES) * TILE_INCHES, len(results) * (TILE_INCHES + 0.8))
    figure = Figure(figure_size, dpi=110, layout='constrained')
    rows = figure.subfigures(len(results), 1, squeeze=False).ravel()
    for row, (name, detections) in zip(rows, results, strict=True):
        row.suptitle(name)
        numbers = {}
        for axes, size in zip(row.subplots(1, len(SIZES)), SIZES, strict=True):
            low, high = SIZES[size]
            of_size = (detections.areas >= low) & (detections.areas < high)
            selected = Detections(*(values[of_size] for values in detections))
            numbers[size] = summarize(selected)
            _draw(axes, size, selected, numbers[size])
        report.append({'name': name, **numbers})
    numbers_file, picture = map(output.path, FILES)
    figure.savefig(picture)
    content = {'score_thr': score_thr, 'results': report}
    numbers_file.write_text(json.dumps(content, indent=1))
    return report


def _draw(
    axes: Axes, size: str, detections: Detections, numbers: dict[str, float | int | None]
) -> None:
    title = f'{size}: {numbers["detections"]} boxes'
    if numbers['low_score_share'] is not None:
        title += f'\n{numbers["low_score_share"]:.0%} of IoU > 0.5 score < 0.5'
    if numbers['pearson'] is not None:
        title += f'\nPearson {numbers["pearson"]:.2f}, Spearman {numbers["spearman"]:.2f}'
    axes.set_title(title, fontsize=9)
    axes.set(xlabel='score', ylabel='IoU', xlim=(0, 1), ylim=(0, 1), aspect='equal')
    if numbers['detections']:
        scores, ious, _ = detections
        axes.hist2d(scores, ious, NUM_BINS, range=((0, 1), (0, 1)), cmin=1, norm=LogNorm(vmin=1))
    axes.axhline(WELL_LOCALIZED_IOU, color='gray', linestyle='--', linewidth=1)
    axes.axvline(LOW_SCORE, color='gray', linestyle='--', linewidth=1)


def detector_name(config: str, checkpoint: str, options: dict[str, Any] | None) -> str:
    """Name a detector by its config, its checkpoint and its options."""
    changes = ''.join(f', {key}={value}' for key, value in (options or {}).items())
    # Every training ends with the same file name; its folder tells which one.
    return f'{Path(config).stem}, {Path(*Path(checkpoint).parts[-2:])}{changes}'

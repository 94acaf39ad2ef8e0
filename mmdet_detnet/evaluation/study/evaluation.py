"""Evaluate a run on the test images: COCO's AP, DeepPCB's metric, and matches.

The matches are part of the result, so intervals over the test images need neither the data nor the
detections.
"""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# The first is DeepPCB's threshold; the others are COCO's.
LOOSE_IOU = 0.33
IOU_THRESHOLDS = [LOOSE_IOU, *np.linspace(0.5, 0.95, 10)]
COCO_THRESHOLDS = range(1, len(IOU_THRESHOLDS))
RECALLS = np.linspace(0, 1, 101)
METRICS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AP33', 'F33')
AREAS = {'APs': 1, 'APm': 2, 'APl': 3}  # indices in COCOeval; 0 is all
MAX_DETECTIONS = -1  # the last of COCOeval's limits, 100
SCORE_DIGITS = 6


def evaluate(annotations: str | Path, detections: str | Path, classes: Sequence[str]) -> dict:
    """Evaluate the detections on a test set.

    Args:
        annotations: The ground truth in COCO format.
        detections: The boxes in COCO's result format.
        classes: Names of the evaluated classes.

    Returns:
        ``metrics``: AP, AP50, AP75, APs, APm and APl as COCO defines them; AP33, at the one IoU of
        0.33, and F33, the best F-score there, as DeepPCB asks for. Metrics without objects are
        None. ``per_class``: the AP of each class. ``images``: their number. ``matches``: for each
        class, what :func:`pack_matches` returns.
    """
    coco = _evaluate_coco(str(annotations), Path(detections), classes)
    precision = coco.eval['precision']
    names = [coco.cocoGt.cats[index]['name'] for index in coco.params.catIds]
    matches = {name: _read_matches(coco, index) for index, name in enumerate(names)}
    metrics = {
        'AP': _mean(precision[COCO_THRESHOLDS, :, :, 0]),
        'AP50': _mean(precision[1, :, :, 0]),
        'AP75': _mean(precision[6, :, :, 0]),
        **{name: _mean(precision[COCO_THRESHOLDS, :, :, area]) for name, area in AREAS.items()},
        'AP33': _mean(precision[0, :, :, 0]),
        'F33': best_f_score(matches),
    }
    per_class = [
        _mean(precision[COCO_THRESHOLDS, :, index : index + 1, 0]) for index in range(len(names))
    ]
    return {
        'metrics': metrics,
        'per_class': dict(zip(names, per_class, strict=True)),
        'images': len(coco.params.imgIds),
        'matches': {name: pack_matches(each) for name, each in matches.items()},
    }


def _evaluate_coco(annotations: str, detections: Path, classes: Sequence[str]) -> COCOeval:
    boxes = json.loads(detections.read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        found = truth.loadRes(boxes) if boxes else COCO()
        coco = COCOeval(truth, found, 'bbox')
        coco.params.catIds = truth.getCatIds(catNms=list(classes))
        coco.params.iouThrs = np.array(IOU_THRESHOLDS)
        coco.evaluate()
        coco.accumulate()
    return coco


def _mean(precision: np.ndarray) -> float | None:
    """Average the defined values, with COCO's limit of 100 detections."""
    defined = precision[..., MAX_DETECTIONS][precision[..., MAX_DETECTIONS] > -1]
    return float(defined.mean()) if defined.size else None


def _read_matches(coco: COCOeval, category: int) -> dict[str, list]:
    """List the number of ``truths`` in each image, and ``image`` to ``ignored`` of each detection.

    ``hit`` and ``ignored``, because of a crowd, are bit by bit for :data:`IOU_THRESHOLDS`.
    """
    num_images, num_areas = len(coco.params.imgIds), len(coco.params.areaRng)
    start = category * num_areas * num_images
    matches: dict[str, list] = {key: [] for key in ('truths', 'image', 'score', 'hit', 'ignored')}
    for image, found in enumerate(coco.evalImgs[start : start + num_images]):
        if found is None:  # neither an object nor a detection
            matches['truths'].append(0)
            continue
        matches['truths'].append(int(np.count_nonzero(found['gtIgnore'] == 0)))
        ignored = found['dtIgnore'].astype(bool)
        matches['image'] += [image] * len(found['dtScores'])
        matches['score'] += [round(float(score), SCORE_DIGITS) for score in found['dtScores']]
        matches['hit'] += _to_bits((found['dtMatches'] > 0) & ~ignored)
        matches['ignored'] += _to_bits(ignored)
    return matches


def _to_bits(flags: np.ndarray) -> list[int]:
    """Encode the thresholds of each detection (row) as bits of one number."""
    return ((1 << np.arange(len(flags))) @ flags.astype(int)).tolist()


def _from_bits(numbers: Sequence[int]) -> np.ndarray:
    bits = np.arange(len(IOU_THRESHOLDS))[:, None]
    return (np.asarray(numbers, dtype=int) >> bits & 1).astype(bool)


def pack_matches(matches: dict[str, list]) -> dict[str, list[int]]:
    """Reduce the matches of one class to what the AP depends on, a quarter of their size.

    Args:
        matches: Number of ``truths`` in each image, and of each detection the index of the
            ``image``, the ``score`` and, bit by bit for :data:`IOU_THRESHOLDS`, whether it is a
            ``hit`` or ``ignored``.

    Returns:
        ``truths``; ``image`` of each detection, by descending score; which of them are ``marked``
        as a hit or ignored, and ``hit`` and ``ignored`` of these.
    """
    order = np.argsort(-np.asarray(matches['score']), kind='stable')
    image, hit, ignored = (
        np.asarray(matches[key], dtype=int)[order] for key in ('image', 'hit', 'ignored')
    )
    marked = np.flatnonzero(hit | ignored)
    packed = dict(image=image, marked=marked, hit=hit[marked], ignored=ignored[marked])
    return {'truths': matches['truths'], **{key: each.tolist() for key, each in packed.items()}}


def average_precisions(matches: dict[str, list[int]], weights: np.ndarray) -> np.ndarray:
    """Compute COCO's AP of one class with a weight for each image.

    Args:
        matches: Matches of the class from :func:`evaluate`.
        weights: Count of each image.

    Returns:
        The AP at each of :data:`IOU_THRESHOLDS`, NaN if there is no object.
    """
    num_truths = weights @ np.asarray(matches['truths'])
    if num_truths == 0:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    # Only hits raise the recall, so the precision matters at no other detection.
    marked = np.asarray(matches['marked'], dtype=int)
    weight = weights[np.asarray(matches['image'], dtype=int)]
    hits = np.cumsum(_from_bits(matches['hit']) * weight[marked], axis=1)
    ignored = np.cumsum(_from_bits(matches['ignored']) * weight[marked], axis=1)
    precision = hits / np.maximum(np.cumsum(weight)[marked] - ignored, np.spacing(1))
    # The best precision at this recall or higher, and 0 at recalls that are never reached.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))
    places = [np.searchsorted(each / num_truths, RECALLS, side='left') for each in hits]
    return np.array([row[place].mean() for row, place in zip(precision, places, strict=True)])


def best_f_score(matches: dict[str, dict[str, list]]) -> float | None:
    """Compute the best F-score of all classes over score thresholds, at an IoU of 0.33.

    Args:
        matches: Matches of each class, before :func:`pack_matches`.

    Returns:
        2PR / (P + R), None if there is no object.
    """
    num_truths = sum(sum(each['truths']) for each in matches.values())
    if not num_truths:
        return None
    score, hit, ignored = (
        np.concatenate([np.asarray(each[key]) for each in matches.values()])
        for key in ('score', 'hit', 'ignored')
    )
    counted = np.flatnonzero(~_from_bits(ignored)[0])
    order = counted[np.argsort(-score[counted], kind='stable')]
    hits = np.cumsum(_from_bits(hit[order])[0])
    # A threshold keeps all detections of equal score or none.
    is_last = np.diff(score[order], append=-1) != 0
    f_scores = 2 * hits / (np.arange(1, len(hits) + 1) + num_truths)
    return float(f_scores[is_last].max(initial=0))

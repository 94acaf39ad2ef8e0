"""Evaluate a run on the test images: COCO's AP, DeepPCB's metric, and matches.

The matches are part of the result, so intervals over the test images need neither the data nor the
detections.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from mmdet_detnet.evaluation.metrics import GroundTruth, build_coco_eval, quiet
from mmdet_detnet.files import read_json

# The first is DeepPCB's threshold; the others are COCO's.
IOU_THRESHOLDS = [0.33, *np.linspace(0.5, 0.95, 10)]
COCO_THRESHOLDS = slice(1, None)
RECALLS = np.linspace(0, 1, 101)
AREAS = {'APs': 1, 'APm': 2, 'APl': 3}  # indices in COCOeval; 0 is all
METRICS = ('AP', 'AP50', 'AP75', *AREAS, 'AP33', 'F33')
SCORE_DIGITS = 6


class _Matches(NamedTuple):
    """The matches of a class: objects of each image, and its detections by descending score.

    ``hit`` and ``ignored``, because of a crowd, are bit by bit for :data:`IOU_THRESHOLDS`.
    """

    truths: list[int]
    image: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray


def evaluate(annotations: str | Path, detections: str | Path, classes: Sequence[str]) -> dict:
    """Evaluate the detections on a test set.

    Args:
        annotations: The ground truth in COCO format.
        detections: The boxes in COCO's result format.
        classes: Names of the evaluated classes.

    Returns:
        ``metrics``: AP, AP50, AP75, APs, APm and APl as COCO defines them; AP33, at the one IoU of
        0.33, and F33, the best F-score there, as DeepPCB asks for. Metrics without objects are
        None. ``per_class``: the AP of each class. ``images``: their number. ``matches`` of each
        class: the number of ``truths`` in each image; the ``image`` of each detection, by
        descending score; which of them are ``marked`` as a hit or ignored at some IoU, and ``hit``
        and ``ignored`` of these, bit by bit for :data:`IOU_THRESHOLDS`.
    """
    coco = _evaluate_coco(annotations, detections, classes)
    precision = coco.eval['precision'][..., -1]  # with COCO's limit of 100 detections
    names = [coco.cocoGt.cats[index]['name'] for index in coco.params.catIds]
    matches = {name: _read_matches(coco, index) for index, name in enumerate(names)}
    of_classes = (precision[COCO_THRESHOLDS, :, index, 0] for index in range(len(names)))
    return {
        'metrics': {
            'AP': _mean(precision[COCO_THRESHOLDS, ..., 0]),
            'AP50': _mean(precision[1, ..., 0]),
            'AP75': _mean(precision[6, ..., 0]),
            **{name: _mean(precision[COCO_THRESHOLDS, ..., area]) for name, area in AREAS.items()},
            'AP33': _mean(precision[0, ..., 0]),
            'F33': _best_f_score(list(matches.values())),
        },
        'per_class': dict(zip(names, map(_mean, of_classes), strict=True)),
        'images': len(coco.params.imgIds),
        'matches': {name: _pack(each) for name, each in matches.items()},
    }


def _evaluate_coco(
    annotations: str | Path, detections: str | Path, classes: Sequence[str]
) -> COCOeval:
    content = read_json(annotations)
    categories = {c['id']: c['name'] for c in content['categories'] if c['name'] in classes}
    objects = [{**each, 'id': number} for number, each in enumerate(content['annotations'], 1)]
    truth = GroundTruth(categories, content['images'], objects)
    coco = build_coco_eval(truth, read_json(detections))
    coco.params.iouThrs = np.array(IOU_THRESHOLDS)
    with quiet():
        coco.evaluate()
        coco.accumulate()
    return coco


def _mean(precision: np.ndarray) -> float | None:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def _read_matches(coco: COCOeval, category: int) -> _Matches:
    num_images = len(coco.params.imgIds)
    start = category * len(coco.params.areaRng) * num_images
    of_images = coco.evalImgs[start : start + num_images]  # None without objects and detections
    truths = [int(np.count_nonzero(each['gtIgnore'] == 0)) if each else 0 for each in of_images]
    numbered = [(number, each) for number, each in enumerate(of_images) if each]
    image = [number for number, each in numbered for _ in each['dtScores']]
    score = [round(float(one), SCORE_DIGITS) for _, each in numbered for one in each['dtScores']]
    no_flags = np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)
    ignored = np.hstack([no_flags, *(each['dtIgnore'].astype(bool) for _, each in numbered)])
    hit = np.hstack([no_flags, *(each['dtMatches'] > 0 for _, each in numbered)]) & ~ignored
    order = np.argsort(-np.asarray(score), kind='stable')
    bits = 1 << np.arange(len(IOU_THRESHOLDS))
    return _Matches(
        truths,
        np.asarray(image, dtype=int)[order],
        np.asarray(score)[order],
        (bits @ hit)[order],
        (bits @ ignored)[order],
    )


def _from_bits(numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    bits = np.arange(len(IOU_THRESHOLDS))[:, None]
    return (np.asarray(numbers, dtype=int) >> bits & 1).astype(bool)


def _pack(matches: _Matches) -> dict[str, list[int]]:
    """Keep what the AP depends on: no scores, and the flags of few detections."""
    marked = np.flatnonzero(matches.hit | matches.ignored)
    packed = dict(image=matches.image, marked=marked)
    packed |= dict(hit=matches.hit[marked], ignored=matches.ignored[marked])
    return {'truths': matches.truths, **{key: each.tolist() for key, each in packed.items()}}


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


def reduce_matches(matches: dict[str, list[int]]) -> dict[str, list[int]]:
    """Leave out what no AP depends on, which halves the packed file.

    That is the order of detections between two marked ones, and all detections behind the last.
    """
    ends = np.asarray(matches['marked'], dtype=int)
    image = np.asarray(matches['image'][: ends[-1] + 1 if len(ends) else 0], dtype=int)
    # A marked detection ends its group, and comes behind the others.
    group = np.searchsorted(ends, np.arange(len(image)))
    is_marked = np.zeros(len(image), dtype=bool)
    is_marked[ends] = True
    return {**matches, 'image': image[np.lexsort((image, is_marked, group))].tolist()}


def _best_f_score(matches: Sequence[_Matches]) -> float | None:
    """Compute the best 2PR / (P + R) of all classes over score thresholds, at an IoU of 0.33."""
    num_truths = sum(sum(each.truths) for each in matches)
    if not num_truths:
        return None
    score, hit, ignored = (
        np.concatenate([getattr(each, key) for each in matches])
        for key in ('score', 'hit', 'ignored')
    )
    counted = np.flatnonzero(~_from_bits(ignored)[0])
    order = counted[np.argsort(-score[counted], kind='stable')]
    hits = np.cumsum(_from_bits(hit[order])[0])
    # A threshold keeps all detections of equal score or none.
    is_last = np.diff(score[order], append=-1) != 0
    f_scores = 2 * hits / (np.arange(1, len(hits) + 1) + num_truths)
    return float(f_scores[is_last].max(initial=0))

"""How good a detector is: COCO's figures, counts per class, the best score, and the errors.

An object is found if the best-scoring detection of its class that overlaps it with an IoU of at
least 0.5 counts; further detections of it are false. All of that is COCO's own matching: at most
100 detections per class and image, and detections in a crowd are neither found nor false. As in
COCO, only ``iscrowd`` is ignored; an annotation's ``ignore`` has no effect.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .score_threshold import ScoreThresholds

try:  # The same figures in C++, as an extra.
    from faster_coco_eval import COCO as FastCOCO
    from faster_coco_eval import COCOeval_faster as FastCOCOeval
except ImportError:
    FastCOCO, FastCOCOeval = COCO, COCOeval

FIGURES = (
    *('AP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large'),
    *('AR1', 'AR10', 'AR100', 'AR_small', 'AR_medium', 'AR_large'),
)
METRIC_NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')  # MMDetection's, of the first
IOU_THR = 0.5

Detection = dict[str, Any]
Match = dict[str, Any]


class GroundTruth(NamedTuple):
    """The objects of a dataset, with class names by category id in the order of the labels.

    Images and objects are as in COCO. Objects are numbered from 1 in this order, since pycocotools
    takes an object with the id 0 for a missing one.
    """

    classes: Mapping[int, str]
    images: Sequence[Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]


class Counts(NamedTuple):
    """Objects found, false detections and objects missed, at one score."""

    found: int
    false: int
    missed: int

    @property
    def precision(self) -> float | None:
        """Fraction of the detections that found an object; None without detections."""
        return _ratio(self.found, self.found + self.false)

    @property
    def recall(self) -> float | None:
        """Fraction of the objects that are found; None without objects."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without detections and objects."""
        return _ratio(2 * self.found, 2 * self.found + self.false + self.missed)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


class Ranking(NamedTuple):
    """The detections of a class, or of all, with the highest score first.

    ``hits`` tells which found one of the ``objects``, which are a number.
    """

    scores: np.ndarray
    hits: np.ndarray
    objects: int

    def count_above(self, score_thr: float) -> Counts:
        """Count with the detections of a higher score."""
        hits = self.hits[self.scores > score_thr]
        found = int(hits.sum())
        return Counts(found, len(hits) - found, self.objects - found)

    def best_f1(self) -> tuple[float, float | None]:
        """Find the highest F1, and its score: between the last detection to count and the next.

        The score is None if no detection found an object.
        """
        f1 = 2 * self.hits.cumsum() / (np.arange(1, len(self.hits) + 1) + self.objects)
        following = np.append(self.scores[1:], 0.0)
        f1[self.scores <= following] = 0  # equal scores count together
        if not f1.any():
            return 0.0, None
        best = f1.argmax()
        return float(f1[best]), float(self.scores[best] + following[best]) / 2


def choose_thresholds(
    truth: GroundTruth, detections: Sequence[Detection]
) -> ScoreThresholds | None:
    """Choose the scores with the highest F1, for all classes together and for each.

    Returns:
        The scores; None if no detection found an object. A class of which none did has no score.
    """
    rankings = rank(truth, match_boxes(truth, detections))
    _, best = pool(rankings).best_f1()
    if best is None:
        return None
    scores = zip(truth.classes.values(), (each.best_f1()[1] for each in rankings), strict=True)
    return ScoreThresholds(best, {name: score for name, score in scores if score is not None})


def coco_figures(
    truth: GroundTruth, detections: Sequence[Detection], iou_type: str = 'bbox'
) -> tuple[dict[str, float | None], np.ndarray]:
    """Compute COCO's figures, with faster-coco-eval if it is installed, else with pycocotools.

    Returns:
        The figures by :data:`FIGURES`; undefined ones, as for sizes that no object has, are None.
        Precision by IoU threshold, recall and class; -1 without objects.
    """
    evaluation = build_coco_eval(truth, detections, iou_type, FastCOCO, FastCOCOeval)
    with quiet():
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [None if value < 0 else float(value) for value in evaluation.stats[: len(FIGURES)]]
    # COCO sorts the categories.
    order = [sorted(truth.classes).index(category) for category in truth.classes]
    precision = evaluation.eval['precision'][:, :, order, 0, -1]
    return dict(zip(FIGURES, stats, strict=True)), precision


def mean_precision(precisions: np.ndarray) -> float | None:
    """Average the precisions that are defined; None if there are none."""
    defined = precisions[precisions >= 0]
    return float(defined.mean()) if len(defined) else None


def name_metrics(figures: Mapping[str, float | None], iou_type: str = 'bbox') -> dict[str, float]:
    """Name average precisions as MMDetection does, ``coco/bbox_mAP``, without undefined ones."""
    return {
        f'coco/{iou_type}_{name}': value
        for name, value in zip(METRIC_NAMES, figures.values(), strict=False)
        if value is not None
    }


def number_objects(annotations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Number objects as :class:`GroundTruth` has them, and set what COCO's matching requires."""
    return [
        {'iscrowd': 0, 'area': each['bbox'][2] * each['bbox'][3], **each, 'id': number}
        for number, each in enumerate(annotations, 1)
    ]


def quiet() -> redirect_stdout:
    """Keep what pycocotools prints at each step off the terminal."""
    return redirect_stdout(io.StringIO())


def build_coco_eval(
    truth: GroundTruth,
    detections: Sequence[Detection],
    iou_type: str = 'bbox',
    coco_type: type = COCO,
    eval_type: type = COCOeval,
) -> COCOeval:
    """Build an evaluation, also without detections, where `COCO.loadRes` fails."""
    results = []
    for number, each in enumerate(detections, 1):
        area = each['bbox'][2] * each['bbox'][3]
        if iou_type == 'segm':
            area = float(mask_utils.area(each['segmentation']))
        results.append(dict(each, id=number, area=area, iscrowd=0))
    sides = []
    for annotations in ([dict(each) for each in truth.annotations], results):
        side = coco_type()
        categories = [dict(id=number, name=name) for number, name in truth.classes.items()]
        side.dataset = dict(images=truth.images, categories=categories, annotations=annotations)
        with quiet():
            side.createIndex()
        sides.append(side)
    return eval_type(*sides, iou_type)


def match_boxes(truth: GroundTruth, detections: Sequence[Detection]) -> list[Match]:
    """Match each class of each image at an IoU of 0.5, as ``COCOeval.evaluateImg`` returns it."""
    evaluation = build_coco_eval(truth, detections)
    evaluation.params.iouThrs = np.array([IOU_THR])
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    with quiet():
        evaluation.evaluate()
    return [each for each in evaluation.evalImgs if each is not None]


def rank(truth: GroundTruth, matches: Sequence[Match]) -> list[Ranking]:
    """Rank the detections of each class, by their matches at the first IoU."""
    rankings = []
    for category in truth.classes:
        own = [each for each in matches if each['category_id'] == category]
        counted = [~each['dtIgnore'][0] for each in own]
        scores = [np.array(e['dtScores'])[c] for e, c in zip(own, counted, strict=True)]
        hits = [e['dtMatches'][0][c] > 0 for e, c in zip(own, counted, strict=True)]
        objects = sum(int((each['gtIgnore'] == 0).sum()) for each in own)
        rankings.append(_sorted(scores, hits, objects))
    return rankings


def pool(rankings: Sequence[Ranking]) -> Ranking:
    """Rank the detections of all classes together."""
    scores, hits, objects = zip(*rankings, strict=True)
    return _sorted(scores, hits, sum(objects))


def _sorted(scores: Sequence[np.ndarray], hits: Sequence[np.ndarray], objects: int) -> Ranking:
    all_scores = np.concatenate([np.zeros(0), *scores])
    order = np.argsort(-all_scores, kind='stable')
    return Ranking(all_scores[order], np.concatenate([np.zeros(0, bool), *hits])[order], objects)

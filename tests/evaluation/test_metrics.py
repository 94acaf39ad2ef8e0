"""COCO's conventions, checked by hand and against pycocotools."""

import numpy as np
import pytest
from coco_cases import BOX, OTHER_BOX, PART, detect, make_truth
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_detnet.evaluation import metrics
from mmdet_detnet.evaluation.metrics import (
    FIGURES,
    Counts,
    choose_thresholds,
    coco_figures,
    match_boxes,
    pool,
    rank,
)

TWO_CATS = make_truth((1, 1, BOX), (2, 1, BOX))
# The first and the third find a cat, the second nothing.
THREE_DETECTIONS = [detect(1, 1, BOX, 0.9), detect(1, 1, OTHER_BOX, 0.8), detect(2, 1, BOX, 0.7)]


def count(truth, detections, score_thr=0.0):
    return pool(rank(truth, match_boxes(truth, detections))).count_above(score_thr)


def test_average_precision_by_hand():
    figures, precision = coco_figures(TWO_CATS, THREE_DETECTIONS)
    # Precision is 1 at recalls of 0, 0.01 ... 0.5, and 2/3 from 0.51 on, at every IoU threshold.
    expected = (51 + 50 * 2 / 3) / 101
    assert [figures[name] for name in ('AP', 'AP50', 'AP75', 'AP_medium')] == [
        pytest.approx(expected)
    ] * 4
    # The best detection of each image finds its cat.
    assert figures['AR1'] == 1
    # There are no small or large objects, and no dogs.
    undefined = {name for name, value in figures.items() if value is None}
    assert undefined == {'AP_small', 'AP_large', 'AR_small', 'AR_large'}
    assert (precision[..., 1] == -1).all()


def test_precision_recall_and_f1_by_hand():
    counts = count(TWO_CATS, THREE_DETECTIONS)
    assert counts == (2, 1, 0)
    assert (counts.precision, counts.recall) == (pytest.approx(2 / 3), 1)
    assert counts.f1 == pytest.approx(0.8)
    assert count(TWO_CATS, THREE_DETECTIONS, score_thr=0.7) == (1, 1, 1)
    assert (Counts(0, 0, 2).precision, Counts(0, 2, 0).recall) == (None, None)
    assert Counts(0, 0, 0).f1 is None


def test_best_score_lies_between_the_last_to_count_and_the_next():
    # F1 is 2/3, 1/2, 4/5 and 2/3 after one to four detections.
    detections = [*THREE_DETECTIONS, detect(3, 1, BOX, 0.2)]
    chosen = choose_thresholds(TWO_CATS, detections)
    assert chosen.all == chosen.classes['cat'] == pytest.approx(0.45)
    assert 'dog' not in chosen.classes


def test_equal_scores_count_together():
    # With the second detection but not the third, F1 would be 1.
    scores = (0.9, 0.5, 0.5)
    detections = [
        dict(each, score=score)
        for each, score in zip(np.array(THREE_DETECTIONS)[[0, 2, 1]], scores, strict=True)
    ]
    assert choose_thresholds(TWO_CATS, detections).all == 0.25


def test_no_score_is_chosen_without_a_right_detection():
    assert choose_thresholds(TWO_CATS, []) is None
    assert choose_thresholds(TWO_CATS, [detect(1, 2, BOX, 0.9)]) is None
    assert choose_thresholds(make_truth(), THREE_DETECTIONS) is None


def test_second_detection_of_an_object_and_a_small_overlap_are_false():
    twice = [detect(1, 1, BOX, 0.9), detect(1, 1, BOX, 0.8), detect(2, 1, PART, 0.7)]
    assert count(TWO_CATS, twice) == (1, 2, 1)


def test_detection_in_a_crowd_is_neither_right_nor_false():
    crowd = make_truth((1, 1, BOX), iscrowd=1)
    # Half of a detection must be in the crowd, however small the crowd's share is.
    inside, outside = detect(1, 1, PART, 0.9), detect(1, 1, OTHER_BOX, 0.8)
    assert count(crowd, [inside, inside, outside]) == (0, 1, 0)
    assert coco_figures(crowd, [inside])[0]['AP'] is None


def test_ignored_object_counts_as_in_coco():
    assert count(make_truth((1, 1, BOX), ignore=1), []) == (0, 0, 1)


def test_at_most_100_detections_of_a_class_an_image_count():
    detections = [detect(1, 1, OTHER_BOX, 1 - i / 1000) for i in range(101)]
    assert count(TWO_CATS, detections) == (0, 100, 2)


def test_no_detections_and_no_objects():
    figures, precision = coco_figures(TWO_CATS, [])
    assert (figures['AP'], figures['AP_large']) == (0, None)
    assert precision.shape == (10, 101, 2)
    assert set(coco_figures(make_truth(), THREE_DETECTIONS)[0].values()) == {None}
    assert count(make_truth(), THREE_DETECTIONS) == (0, 3, 0)


def test_classes_are_in_the_order_of_the_labels():
    truth = make_truth((1, 3, BOX), (2, 7, BOX), classes={7: 'dog', 3: 'cat'})
    detections = [detect(1, 3, BOX, 0.9)]
    _, precision = coco_figures(truth, detections)
    assert precision.mean((0, 1)).tolist() == [0, 1]
    ranked = rank(truth, match_boxes(truth, detections))
    assert [each.count_above(0) for each in ranked] == [(0, 0, 1), (1, 0, 0)]


def make_random_case():
    """Objects of all sizes in ten images, and detections of them and next to them."""
    random = np.random.default_rng(0)
    objects, detections = [], []
    for image in range(1, 11):
        for _ in range(random.integers(0, 8)):
            box = [*random.uniform(0, 80, 2), *random.choice([12, 40, 110], 2)]
            category = int(random.integers(1, 3))
            objects.append((image, category, [float(value) for value in box]))
            for _ in range(random.integers(0, 4)):
                shifted = (np.array(box) + random.normal(0, 3, 4)).tolist()
                found = category if random.random() < 0.8 else 3 - category
                detections.append(detect(image, found, shifted, float(random.random())))
    return make_truth(*objects, images=10), detections


@pytest.mark.parametrize('backend', ['pycocotools', 'faster-coco-eval'])
def test_figures_are_those_of_pycocotools(backend, monkeypatch):
    if backend == 'pycocotools':
        monkeypatch.setattr(metrics, 'FastCOCO', COCO)
        monkeypatch.setattr(metrics, 'FastCOCOeval', COCOeval)
    else:
        pytest.importorskip('faster_coco_eval')
        assert metrics.FastCOCO is not COCO
    truth, detections = make_random_case()
    figures, precision = coco_figures(truth, detections)
    reference = COCO()
    reference.dataset = dict(
        images=truth.images,
        annotations=truth.annotations,
        categories=[dict(id=i, name=name) for i, name in truth.classes.items()],
    )
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes(detections), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert (evaluation.stats > 0).all()
    assert [figures[name] for name in FIGURES] == pytest.approx(evaluation.stats.tolist())
    np.testing.assert_allclose(precision, evaluation.eval['precision'][:, :, :, 0, -1])


def test_masks_are_evaluated_too():
    mask = np.zeros((200, 200, 1), np.uint8, 'F')
    mask[:40, :20] = 1
    half = metrics.mask_utils.encode(mask)[0]
    truth = make_truth((1, 1, BOX), segmentation=[[0, 0, 40, 0, 40, 40, 0, 40]])
    detections = [dict(detect(1, 1, BOX, 0.9), segmentation=half)]
    assert coco_figures(truth, detections)[0]['AP'] == 1
    # The masks have an IoU of 0.5: right at the first of the ten thresholds only.
    assert coco_figures(truth, detections, 'segm')[0]['AP'] == pytest.approx(0.1)

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from mmdet_detnet.evaluation.study.matches import (
    COCO_THRESHOLDS,
    IOU_THRESHOLDS,
    average_precisions,
    evaluate,
    reduce_matches,
)

CLASSES = ('open', 'short')


def write(folder, truths, detections, num_images=2):
    """Write ground truth and detections: image, class, x, width (all 100 high), then score."""
    annotations = [
        dict(id=i + 1, image_id=image, category_id=label, bbox=[x, 0, width, 100], iscrowd=crowd)
        | dict(area=width * 100)
        for i, (image, label, x, width, crowd) in enumerate(truths)
    ]
    boxes = [
        dict(image_id=image, category_id=label, bbox=[x, 0, width, 100], score=score)
        for image, label, x, width, score in detections
    ]
    images = [dict(id=i, file_name=f'{i}.png', width=640, height=640) for i in range(num_images)]
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    truth = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'boxes.json').write_text(json.dumps(boxes))
    return folder / 'truth.json', folder / 'boxes.json'


@pytest.fixture
def by_hand(tmp_path):
    truths = [(0, 0, 0, 100, 0), (0, 0, 300, 100, 0), (1, 1, 0, 100, 0)]
    detections = [
        (0, 0, 0, 100, 0.9),  # exact
        (0, 0, 360, 100, 0.8),  # IoU 40 / 160 = 0.25: wrong at every threshold
        (0, 0, 350, 100, 0.7),  # IoU 50 / 150 = 0.333: right at 0.33 only
        (1, 1, 0, 80, 0.6),  # IoU 0.8: right up to 0.8
        (1, 1, 400, 50, 0.3),  # nothing there
    ]
    return evaluate(*write(tmp_path, truths, detections), CLASSES)


def test_aps_worked_by_hand(by_hand):
    # `open`, COCO: recall 0.5 at precision 1: 51 of 101 recalls. `short`: 1 at 7 of 10 thresholds.
    assert by_hand['per_class'] == {'open': pytest.approx(51 / 101), 'short': pytest.approx(0.7)}
    metrics = by_hand['metrics']
    assert metrics['AP'] == pytest.approx((51 / 101 + 0.7) / 2)
    assert metrics['AP75'] == pytest.approx((51 / 101 + 1) / 2)
    assert (metrics['APs'], metrics['APm']) == (None, None)  # no such object


def test_deeppcb_measure_worked_by_hand(by_hand):
    # `open`: right, wrong, right: precision 1 up to recall 0.5, then 2/3. `short`: 1.
    assert by_hand['metrics']['AP33'] == pytest.approx(((51 + 50 * 2 / 3) / 101 + 1) / 2)
    # From a score of 0.6 on: 3 of 4 right and 3 of 3 found; 0.9 alone has 2 * 1 / (1 + 3).
    assert by_hand['metrics']['F33'] == pytest.approx(2 * 3 / (4 + 3))


def test_equal_scores_pass_a_threshold_together(tmp_path):
    truths = [(0, 0, 0, 100, 0)]
    detections = [(0, 0, 0, 100, 0.5), (0, 0, 300, 100, 0.5)]
    result = evaluate(*write(tmp_path, truths, detections), CLASSES)
    assert result['metrics']['F33'] == pytest.approx(2 / 3)  # and not 1


def test_no_detection_and_no_object(tmp_path):
    nothing_found = evaluate(*write(tmp_path, [(0, 0, 0, 100, 0)], []), CLASSES)
    assert (nothing_found['metrics']['AP'], nothing_found['metrics']['F33']) == (0, 0)
    nothing_there = evaluate(*write(tmp_path, [], [(0, 0, 0, 100, 0.5)]), CLASSES)
    assert set(nothing_there['metrics'].values()) == {None}


@pytest.fixture(scope='module')
def scattered(tmp_path_factory):
    """Many boxes at random, crowds among them, and their result."""
    rng = np.random.default_rng(0)
    truths = [
        (image, int(rng.integers(2)), int(rng.integers(500)), int(rng.integers(10, 100)), crowd)
        for image in range(8)
        for crowd in (0, 0, 0, 0, 1)
    ]
    detections = [
        (image, label, x + int(rng.integers(-9, 9)), width, round(rng.random(), 3))
        for image, label, x, width, _ in truths * 3
    ]
    folder = tmp_path_factory.mktemp('scattered')
    return *write(folder, truths, detections, 8), truths, detections


def test_metrics_are_those_of_mmdet(scattered):
    truth, boxes, _, detections = scattered
    metric = CocoMetric(str(truth), classwise=True)
    metric.dataset_meta = dict(classes=CLASSES)
    for image in range(8):
        found = [each for each in detections if each[0] == image]
        corners = [[x, 0, x + width, 100] for _, _, x, width, _ in found]
        sample = dict(
            img_id=image,
            ori_shape=(640, 640),
            pred_instances=dict(
                bboxes=torch.tensor(corners),
                scores=torch.tensor([each[-1] for each in found]),
                labels=torch.tensor([each[1] for each in found]),
            ),
        )
        metric.process({}, [sample])
    expected = metric.evaluate(8)
    ours = evaluate(truth, boxes, CLASSES)
    names = dict(AP='', AP50='_50', AP75='_75', APs='_s', APm='_m')
    assert 0.1 < ours['metrics']['AP'] < 0.9
    for name, suffix in names.items():
        assert ours['metrics'][name] == pytest.approx(expected[f'coco/bbox_mAP{suffix}'], abs=6e-4)
    assert ours['per_class']['open'] == pytest.approx(expected['coco/open_precision'], abs=6e-4)


def test_matches_give_the_ap_again(scattered):
    result = evaluate(*scattered[:2], CLASSES)
    for name, matches in result['matches'].items():
        ap = average_precisions(matches, np.ones(8))[COCO_THRESHOLDS].mean()
        assert ap == pytest.approx(result['per_class'][name], abs=1e-9)


def test_weight_of_an_image_is_its_number_of_copies(scattered, tmp_path):
    _, _, truths, detections = scattered
    weights = np.array([0, 1, 2, 1, 0, 3, 1, 0])
    sources = np.repeat(np.arange(8), weights)
    copied = [
        [(copy, *each[1:]) for copy, i in enumerate(sources) for each in rows if each[0] == i]
        for rows in (truths, detections)
    ]
    expected = evaluate(*write(tmp_path, *copied, len(sources)), CLASSES)
    result = evaluate(*scattered[:2], CLASSES)
    for name, matches in result['matches'].items():
        ap = average_precisions(matches, weights)[COCO_THRESHOLDS].mean()
        assert ap == pytest.approx(expected['per_class'][name], abs=1e-9)


def test_detections_in_a_crowd_count_neither_in_the_matches_nor_in_the_f_score(tmp_path):
    truths = [(0, 0, 0, 100, 0), (0, 0, 300, 100, 1)]
    detections = [(0, 0, 0, 100, 0.8), (0, 0, 300, 100, 0.9), (0, 0, 500, 50, 0.7)]
    result = evaluate(*write(tmp_path, truths, detections), CLASSES)
    all_bits = 2 ** len(IOU_THRESHOLDS) - 1
    assert result['matches']['open'] == dict(
        truths=[1, 0], image=[0, 0, 0], marked=[0, 1], hit=[0, all_bits], ignored=[all_bits, 0]
    )
    assert result['metrics']['F33'] == 1


def test_reduced_matches_are_sorted_between_marked_ones():
    # The order of the detections 2 and 3 tells nothing, nor does 6.
    matches = dict(truths=[2, 1, 1], image=[2, 0, 2, 0, 1, 0, 1], marked=[1, 4, 5])
    matches |= dict(hit=[0b111, 0b10, 0], ignored=[0, 0, 1])
    assert reduce_matches(matches) == matches | dict(image=[2, 0, 0, 2, 1, 0])
    assert reduce_matches(matches | dict(marked=[], hit=[], ignored=[]))['image'] == []


def test_reduced_matches_have_the_same_ap(scattered):
    result = evaluate(*scattered[:2], CLASSES)
    for weights in np.random.default_rng(0).integers(0, 3, (5, 8)):
        for matches in result['matches'].values():
            expected = average_precisions(matches, weights)
            assert (
                average_precisions(reduce_matches(matches), weights).tolist() == expected.tolist()
            )

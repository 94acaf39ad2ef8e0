"""Missed and confused objects and false positives, counted by hand."""

import cv2
import torch

from mmdet_detnet.evaluation.errors import draw_matrix, find_errors, match_objects

BOX, OTHER_BOX = [0, 0, 10, 10], [50, 50, 60, 60]


def instance(box, label, is_crowd=0):
    return {'bbox': box, 'bbox_label': label, 'ignore_flag': is_crowd}


def prediction(*detections):
    boxes, labels, scores = zip(*detections, strict=True) if detections else ([], [], [])
    return {
        'bboxes': torch.tensor(boxes).reshape(-1, 4).float(),
        'labels': torch.tensor(labels).long(),
        'scores': torch.tensor(scores).float(),
    }


def match(found, instances):
    return match_objects(found, instances, score_thr=0.3, iou_thr=0.5)


def test_object_has_one_detection_and_the_second_is_a_false_positive():
    found = prediction((BOX, 0, 0.6), (BOX, 0, 0.9))
    assert match(found, [instance(BOX, 0)]) == [(0, 0), (-1, 0)]


def test_own_class_comes_before_a_better_overlap():
    found = prediction((BOX, 1, 0.9))
    objects = [instance(BOX, 0), instance([0, 0, 10, 9], 1)]
    assert match(found, objects) == [(1, 1), (0, -1)]


def test_other_class_is_confused():
    assert match(prediction((BOX, 1, 0.9)), [instance(BOX, 0)]) == [(0, 1)]


def test_low_score_and_small_overlap_do_not_count():
    found = prediction((BOX, 0, 0.3), ([0, 0, 10, 4], 0, 0.9))
    assert match(found, [instance(BOX, 0)]) == [(-1, 0), (0, -1)]


def test_crowd_is_neither_missed_nor_a_false_positive():
    found = prediction((BOX, 0, 0.9), (OTHER_BOX, 0, 0.8))
    assert match(found, [instance(BOX, 0, is_crowd=1)]) == [(-1, 0)]


def test_images_without_objects_or_detections():
    assert match(prediction((BOX, 0, 0.9)), []) == [(-1, 0)]
    assert match(prediction(), [instance(BOX, 0)]) == [(0, -1)]


def test_counts_of_three_images(tmp_path):
    samples = [
        {'img_id': 'good', 'pred_instances': prediction((BOX, 0, 0.9))},
        {'img_id': 'confused', 'pred_instances': prediction((BOX, 1, 0.9), (OTHER_BOX, 1, 0.9))},
        {'img_id': 'missed', 'pred_instances': prediction()},
    ]
    truths = {image: [instance(BOX, 0)] for image in ('good', 'confused', 'missed')}
    errors = find_errors(samples, truths, ('cat', 'dog'))
    assert errors.matrix.tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 0]]
    assert errors.missed == {'good': 0, 'confused': 1, 'missed': 1}
    assert errors.false_positives == {'good': 0, 'confused': 2, 'missed': 0}
    assert errors.worst(5) == ['confused', 'missed']
    assert errors.worst(1) == ['confused']
    draw_matrix(errors, tmp_path / 'matrix.png')
    assert cv2.imread(str(tmp_path / 'matrix.png')) is not None

"""Missed, false and confused objects, counted by hand."""

import pytest
from coco_cases import BOX, OTHER_BOX, PART, detect, make_truth

from mmdet_detnet.evaluation.errors import confuse, find_errors
from mmdet_detnet.evaluation.metrics import match_boxes


def find(truth, *detections, score_thr=0.3):
    return find_errors(truth, detections, match_boxes(truth, detections), score_thr)


def kinds(image):
    return sorted(box.kind for box in image.boxes)


CAT = make_truth((1, 1, BOX))


@pytest.mark.parametrize(
    ('detections', 'expected'),
    [
        ([], ['miss']),
        ([detect(1, 1, BOX, 0.9)], ['hit']),
        ([detect(1, 1, BOX, 0.9), detect(1, 1, BOX, 0.8)], ['false', 'hit']),
        ([detect(1, 2, BOX, 0.9)], ['wrong']),
        ([detect(1, 2, BOX, 0.9), detect(1, 2, BOX, 0.8)], ['false', 'wrong']),
        ([detect(1, 2, BOX, 0.9), detect(1, 1, BOX, 0.4)], ['false', 'hit']),
        ([detect(1, 2, PART, 0.9)], ['false', 'miss']),
        ([detect(1, 1, BOX, 0.3)], ['miss']),  # not above the threshold
    ],
)
def test_boxes_of_an_image_with_one_cat(detections, expected):
    assert kinds(find(CAT, *detections)[0]) == expected


def test_own_class_comes_before_a_better_overlap():
    truth = make_truth((1, 1, BOX), (1, 2, [0, 0, 40, 36]))
    image = find(truth, detect(1, 2, BOX, 0.9))[0]
    assert [(box.true, box.found) for box in image.boxes] == [(1, 1), (0, -1)]


def test_crowd_is_no_error():
    assert find(make_truth((1, 1, BOX), iscrowd=1), detect(1, 1, PART, 0.9))[0].boxes == []


def test_counts_of_three_images():
    truth = make_truth((1, 1, BOX), (2, 1, BOX), (3, 1, BOX))
    confused = [detect(2, 2, BOX, 0.9), detect(2, 2, OTHER_BOX, 0.8)]
    images = find(truth, detect(1, 1, BOX, 0.9), *confused)
    assert [(image.missed, image.false) for image in images] == [(0, 0), (1, 2), (1, 0)]
    # A cat found, a cat taken for a dog, a cat missed; a dog where nothing is.
    assert confuse(images, 2).tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 0]]


def test_image_without_objects_and_detections_has_no_boxes():
    assert [image.boxes for image in find(make_truth(images=1))] == [[]]

import json
import re
import sys

import cv2
import numpy as np
import pytest
from analysis_tools import misalignment as script

from mmdet_detnet.evaluation.misalignment import (
    Detections,
    detector_name,
    match_data_set,
    match_image,
    write_misalignment,
)

# Two objects of class 0 (400 and 2500 pixels), one of class 1 (20,000), and a crowd of class 0.
OBJECTS = [
    dict(bbox=[0, 0, 20, 20], category_id=0, iscrowd=0),
    dict(bbox=[100, 100, 50, 50], category_id=0, iscrowd=0),
    dict(bbox=[0, 0, 200, 100], category_id=1, iscrowd=0),
    dict(bbox=[300, 300, 100, 100], category_id=0, iscrowd=1),
]
# Box, class, score, and what is expected: IoU and area, or None if it does not count.
DETECTIONS = [
    ([0, 0, 20, 20], 0, 0.9, (1.0, 400)),
    ([0, 0, 20, 10], 0, 0.3, (0.5, 400)),  # the second on one object
    ([100, 100, 50, 40], 0, 0.4, (0.8, 2500)),
    ([0, 0, 200, 80], 1, 0.7, (0.8, 20_000)),
    ([100, 110, 50, 40], 1, 0.6, (0.0, 2000)),  # on an object, but of the other class
    ([310, 310, 20, 20], 0, 0.8, None),  # in the crowd
    ([0, 0, 20, 20], 0, 0.05, None),  # not above the threshold
]


def prediction(rows):
    return [dict(bbox=box, category_id=label, score=score) for box, label, score, _ in rows]


@pytest.fixture
def detections():
    return match_image(prediction(DETECTIONS), OBJECTS, score_thr=0.05)


def test_each_detection_is_matched_with_its_class(detections):
    counted = [row for row in DETECTIONS if row[3]]
    np.testing.assert_allclose(detections.scores, [row[2] for row in counted])
    np.testing.assert_allclose(detections.ious, [row[3][0] for row in counted])
    np.testing.assert_allclose(detections.areas, [row[3][1] for row in counted])


def test_true_object_in_a_crowd_counts():
    inside = dict(bbox=[310, 310, 20, 20], category_id=0, iscrowd=0)
    rows = [([310, 310, 20, 18], 0, 0.8, None)]
    matched = match_image(prediction(rows), [*OBJECTS, inside], score_thr=0.05)
    assert matched.ious.tolist() == [pytest.approx(0.9)]


@pytest.mark.parametrize(('left', 'counted'), [(290, False), (289, True)])
def test_detection_counts_unless_more_than_half_of_it_lies_in_a_crowd(left, counted):
    rows = [([left, 310, 21, 20], 0, 0.8, None)]  # 11 or 10 of its 21 columns
    assert len(match_image(prediction(rows), OBJECTS, score_thr=0.05).scores) == counted


def test_image_without_objects_or_detections():
    matched = match_image(prediction(DETECTIONS[:1]), [], score_thr=0.05)
    assert (matched.ious.tolist(), matched.areas.tolist()) == ([0], [400])
    assert len(match_image([], OBJECTS, score_thr=0.05).scores) == 0


def test_numbers_worked_by_hand(detections, tmp_path):
    (numbers,) = write_misalignment([('mine', detections)], tmp_path, score_thr=0.05)
    # Scores .9 .3 .4 .7 .6 and IoUs 1 .5 .8 .8 0 have the means 0.58 and 0.62, the sum of products
    # of the deviations 0.132 and the sums of squares 0.228 and 0.608. The ranks 5 1 2 4 3 and
    # 5 2 3.5 3.5 1 have 6, 10 and 9.5. Well localized are .9 .4 .7 with 1 .8 .8: sum of products
    # 0.7 / 15, sums of squares 0.38 / 3 and 0.08 / 3; ranks 3 1 2 and 3 1.5 1.5: 1.5, 2 and 1.5.
    assert numbers['all'] == {
        'detections': 5,
        'well_localized': 3,
        'low_score_share': pytest.approx(1 / 3),
        'pearson': pytest.approx(0.132 / (0.228 * 0.608) ** 0.5),
        'spearman': pytest.approx(6 / 95**0.5),
        'pearson_well_localized': pytest.approx(0.7 / 15 / (0.38 * 0.08 / 9) ** 0.5),
        'spearman_well_localized': pytest.approx(1.5 / 3**0.5),
    }


def test_numbers_by_size(detections, tmp_path):
    (numbers,) = write_misalignment([('mine', detections)], tmp_path, score_thr=0.05)
    of_sizes = [numbers[size] for size in ('small', 'medium', 'large')]
    assert [size['detections'] for size in of_sizes] == [2, 2, 1]
    assert [size['low_score_share'] for size in of_sizes] == [0, 1, 0]
    assert [size['pearson'] for size in of_sizes] == [pytest.approx(1), pytest.approx(-1), None]


def test_report_of_two_detectors(detections, tmp_path):
    nothing = Detections(*(values[:0] for values in detections))
    report = write_misalignment([('one', detections), ('two', nothing)], tmp_path / 'new', 0.05)
    assert json.loads((tmp_path / 'new/misalignment.json').read_text()) == {
        'score_thr': 0.05,
        'results': report,
    }
    assert report[1]['all']['low_score_share'] is None
    assert cv2.imread(str(tmp_path / 'new/misalignment.png')) is not None


def test_runs_of_one_config_have_different_names():
    names = [detector_name('a.py', f'work_dirs/{run}/epoch_40.pth', None) for run in ('x', 'y')]
    assert names == ['a, x/epoch_40.pth', 'a, y/epoch_40.pth']


def test_detections_of_a_checkpoint_count_above_the_score(tiny_detector):
    # This untrained Faster R-CNN scores about 1/4 for each of its three classes and the background.
    detections = match_data_set(*tiny_detector, score_thr=0.2, device='cpu')
    assert len(detections.scores) == len(detections.ious) == len(detections.areas) > 20
    assert detections.scores.min() > 0.2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--compare-options', 'a=1'], '--compare-options needs --compare'),
        ([], r'misalignment\.png is in the way'),
    ],
)
def test_mistakes_are_said_before_the_work(options, message, tmp_path, monkeypatch, capsys):
    (tmp_path / 'misalignment.png').touch()
    arguments = ['config.py', 'detector.pth', '--out-dir', str(tmp_path), *options]
    monkeypatch.setattr(sys, 'argv', ['misalignment.py', *arguments])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert re.search(message, f'{stop.value}{capsys.readouterr().err}')

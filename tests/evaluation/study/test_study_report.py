import json

import cv2
import numpy as np
import pytest
from study_results import make_result, make_study

from mmdet_detnet.evaluation.study import study_report, write_report
from mmdet_detnet.evaluation.study.result_files import name_result
from mmdet_detnet.evaluation.study.study_report import (
    Comparison,
    Estimate,
    compute_p_value,
    correct_by_holm,
    decide,
    estimate_mean,
    resample,
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write results, and the report of them."""
    monkeypatch.setattr(study_report, 'RESAMPLES', 20)

    def write(*results):
        (tmp_path / 'results').mkdir()
        for number, result in enumerate(results):
            (tmp_path / f'results/{number}.json').write_text(json.dumps(result))
        return write_report(make_study(), tmp_path)

    return write


JUDGED, METRICS, DETECTORS = 0, 2, 3  # the report's tables, between other paragraphs


def hits(number):
    return [1] * number + [0] * (10 - number)


def cells(text, table, detector):
    """Read a line of a table."""
    lines = [line.strip('|').split('|') for line in text.split('\n\n')[table].splitlines()]
    (line,) = [line for line in lines if line[1].strip() == detector]
    return [cell.strip() for cell in line]


def test_runs_are_paired_by_seed(write, tmp_path):
    plain = [make_result('plain', seed, hits(4 + seed)) for seed in (2, 0, 1)]
    better = [make_result('better', seed, hits(found)) for seed, found in enumerate((7, 9, 10))]
    row = cells(write(*plain, *better), JUDGED, 'better')
    assert sorted(row[5].split(', ')) == ['+0.300', '+0.400', '+0.400']
    # t = 11 for 2 degrees of freedom: p = 1 - 11 / sqrt(11 ** 2 + 2).
    assert row[6:8] == ['0.008', '0.008']
    # 4.303 is Student's t for 2 degrees, 0.0577 the standard deviation: 0.143 on either side.
    assert row[4] == '+0.367 (+0.223 to +0.510)'
    assert row[-1] == 'gain'
    assert 'verdict' in (tmp_path / 'report.md').read_text()
    assert cv2.imread(str(tmp_path / 'report.png')).std() > 0


def test_failed_and_missing_runs_are_listed(write):
    failed = dict(detector='better', data_set='cells', seed=1, failure='exit status 1: no memory')
    text = write(make_result('plain', 0, [1, 0]), make_result('better', 0, [1, 1]), failed)
    assert 'FAILED cells_better_seed1: exit status 1: no memory' in text
    missing = 'cells_plain_seed1, cells_plain_seed2, cells_better_seed2'
    assert f'Not run: {missing}.' in text
    row = cells(text, JUDGED, 'better')
    assert (row[3], row[-1]) == ('1', 'no difference shown')


def test_run_without_partner_is_not_compared(write):
    text = write(make_result('plain', 0, [1, 0]))
    assert '| 0.500 |' in text
    assert 'verdict' not in text


def test_metric_that_no_object_defines(write):
    text = write(*(make_result(name, 0, [1, 0]) for name in ('plain', 'better')))
    assert cells(text, METRICS, 'better')[6] == '-'  # APs
    assert cells(text, DETECTORS, 'plain')[4:8] == ['0.500', '0.500', '0.500', '-']


def test_detector_that_learned_nothing_has_an_ap_of_0(write):
    text = write(make_result('plain', 0, [0, 0]))
    assert '| cells_plain_seed0 | 0.000 |' in text


@pytest.mark.parametrize(
    ('seeds', 'images', 'verdict'),
    [
        ((0.01, 0.03), (0.01, 0.03), 'gain'),
        ((-0.03, -0.01), (-0.03, -0.01), 'loss'),
        ((-0.01, 0.05), (0.01, 0.03), 'no difference shown'),
        ((0.001, 0.0025), (0.001, 0.0025), 'none'),
        ((0.01, 0.03), (-0.01, 0.05), 'no difference shown'),
    ],
)
def test_verdict_needs_both_intervals(seeds, images, verdict):
    estimates = [Estimate(sum(each) / 2, *each) for each in (seeds, images)]
    assert decide(*estimates) == verdict


def test_no_result_yet(tmp_path):
    with pytest.raises(ValueError, match='has no result yet'):
        write_report(make_study(), tmp_path)


def test_interval_worked_by_hand():
    # Mean 0.02, standard deviation 0.01, three values; Student's t for 2 degrees: 4.303.
    estimate = estimate_mean([0.01, 0.02, 0.03])
    margin = 4.3027 * 0.01 / 3**0.5
    assert estimate == pytest.approx((0.02, 0.02 - margin, 0.02 + margin), abs=1e-6)
    assert estimate.includes_zero


@pytest.mark.parametrize('values', [[0.1, 0.11, 0.12], [-0.1, -0.11, -0.12]])
def test_interval_on_one_side_of_zero(values):
    assert not estimate_mean(values).includes_zero


def test_one_seed_shows_nothing():
    estimate = estimate_mean([0.3])
    assert estimate.includes_zero
    assert str(estimate) == '+0.300 (-)'


def bootstrap(module, control):
    resampled = {name_result(each): resample(each) for each in (module, control)}
    return Comparison('cells', 'better', 'plain', [(module, control)]).bootstrap(resampled)


def test_bootstrap_has_the_spread_of_drawn_images():
    # The module finds 30 objects of 100 more: a share with the standard error sqrt(.3 * .7 / 100).
    control = make_result('plain', 0, [1] * 20 + [0] * 80)
    module = make_result('better', 0, [1] * 50 + [0] * 50)
    margin = 1.96 * (0.3 * 0.7 / 100) ** 0.5
    assert bootstrap(module, control) == pytest.approx((0.3, 0.3 - margin, 0.3 + margin), abs=0.02)


def test_same_images_are_drawn_for_both():
    hits = [1, 0] * 20
    results = [make_result(name, 0, hits) for name in ('better', 'plain')]
    assert bootstrap(*results) == Estimate(0, 0, 0)


def test_draws_without_an_object_of_a_class_leave_it_out():
    result = make_result('plain', 0, [1, 0, 1])
    result['matches']['rare'] = dict(truths=[0, 0, 1], image=[2], marked=[], hit=[], ignored=[])
    assert not np.isnan(resample(result)).any()


def test_p_value_worked_by_hand():
    # t = 2 for 1 degree of freedom, Cauchy's distribution: 1 - 2 / pi * arctan(2).
    assert compute_p_value([0.01, 0.03]) == pytest.approx(0.29517, abs=1e-5)
    assert compute_p_value([0.3]) == 1  # one seed
    assert compute_p_value([0.0, 0.0]) == 1
    assert compute_p_value([0.1, 0.1]) == 0


def test_holm_worked_by_hand():
    # In order: 3 * 0.01 = 0.03; 2 * 0.03 = 0.06; 1 * 0.04, but not below the one before.
    assert correct_by_holm([0.01, 0.04, 0.03], 3) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_by_holm([0.5, 0.001], 2) == pytest.approx([0.5, 0.002])
    assert correct_by_holm([0.6, 0.7], 2) == [1, 1]


def test_comparisons_that_are_not_made_yet_count_in_holm():
    assert correct_by_holm([0.04, 0.01], 4) == pytest.approx([0.12, 0.04])
    assert correct_by_holm([], 4) == []

import json

import cv2
import pytest
from study_results import make_result, make_study

from mmdet_detnet.evaluation.study import write_report
from mmdet_detnet.evaluation.study.report import decide
from mmdet_detnet.evaluation.study.statistics import Estimate


@pytest.fixture
def write(tmp_path):
    """Write results, and the report of them."""

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

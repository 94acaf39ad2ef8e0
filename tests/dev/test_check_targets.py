"""Targets, judged on rows made by hand."""

import json
from dataclasses import asdict

import check_targets
import pytest
from check_targets import (
    Judgement,
    format_judgements,
    judge,
    judge_acceleration,
    judge_repeat,
    read_report,
)
from helpers import make_row

from mmdet_detnet.analysis.benchmark.rows import Row, compare_rows
from mmdet_detnet.analysis.benchmark.workload import Settings

CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


def states(judgements):
    return [judgement.state for judgement in judgements]


def test_target_is_judged_by_the_median_of_the_rounds():
    # Ratios 1.0, 1.02 and 1.5 to at most 1.03; training 2.05 / 2 to at most 1.02; no memory.
    ours = make_row(CONFIDENCE, [1.0, 1.02, 3.0], train_seconds=[2.05])
    stock = make_row(RETINANET, [1.0, 1.0, 2.0], train_seconds=[2.0])
    judged = judge('retinanet-conf', [ours, stock])
    assert states(judged) == ['met', 'missed', 'not measured', 'not measured']
    assert judged[0].ratio.median == 1.02


def test_memory_is_judged_by_one_figure():
    ours = make_row(CONFIDENCE, predict_mib=103, train_mib=104)
    stock = make_row(RETINANET, predict_mib=100, train_mib=100)
    assert states(judge('retinanet-conf', [ours, stock]))[2:] == ['met', 'missed']


@pytest.mark.parametrize(('seconds', 'state'), [(1.2, 'met'), (1.4, 'missed')])
def test_rate_of_operations_has_a_lower_bound(seconds, state):
    # 120 GMACs in 1.2 s is the rate of 100 in 1 s; in 1.4 s it is 0.857 of it.
    ours = make_row(
        'detnet/faster-rcnn_detnet59_fpn_1x_coco.py', [seconds], gmacs={'backbone': 120}
    )
    stock = make_row(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', [1.0], gmacs={'backbone': 100}
    )
    assert states(judge('backbone', [ours, stock])) == [state]


def test_rows_of_different_settings_are_not_held_against_each_other():
    ours = make_row(CONFIDENCE, [1.0], Settings('bf16'))
    stock = make_row(RETINANET, [1.0])
    assert set(states(judge('retinanet-conf', [ours, stock]))) == {'not measured'}


def test_failed_row_leaves_its_targets_unmeasured_and_printed():
    judged = judge('retinanet-conf', [make_row(CONFIDENCE, failure='gone'), make_row(RETINANET)])
    assert len(judged) == 4
    assert format_judgements(judged).count('not measured') == 4


def test_acceleration_is_judged_against_the_same_detector_run_plain():
    settings = Settings('bf16', channels_last=True)
    # A third of the time is the target for bf16, and training 1.15 times faster.
    fast = make_row(RETINANET, [0.33], settings, train_seconds=[0.9])
    plain = make_row(RETINANET, [1.0], train_seconds=[1.0])
    other = make_row(CONFIDENCE, [9.0])
    judged = judge_acceleration([fast, other, plain], 'cpu')
    assert states(judged) == ['met', 'missed']
    assert judged[0].ratio.median == 0.33


@pytest.mark.parametrize(('now', 'state'), [(1.02, 'met'), (0.96, 'missed')])
def test_two_runs_agree_within_three_percent(now, state):
    def results(median):
        ratio = {'median': median}
        ours = {'title': 'ours', 'ratios': {'predict_seconds': ratio}}
        reference = {'title': 'stock', 'ratios': {'predict_seconds': {'median': 1.0}}}
        return {'detnet': [ours, reference]}

    assert states(judge_repeat(results(now), results(1.0))) == [state]


def test_file_that_is_no_report_is_named(tmp_path):
    file = tmp_path / 'other.json'
    file.write_text('[]')
    with pytest.raises(ValueError, match=r'other\.json is no report'):
        read_report(file)


def test_judgement_without_a_measurement_has_no_figure():
    assert '| - ' in format_judgements([Judgement('fast enough', 'not measured', 1.0)])


def test_row_is_read_as_it_was_written():
    row = make_row(CONFIDENCE, [1.0], Settings('bf16'), predict_mib=3.0)
    row.ratios = compare_rows(row, row)
    assert Row.from_dict(json.loads(json.dumps(asdict(row)))) == row


def test_command_line_judges_a_report(tmp_path, monkeypatch, capsys):
    rows = [make_row(CONFIDENCE, [1.1]), make_row(RETINANET, [1.0])]
    file = tmp_path / 'benchmark_cpu.json'
    file.write_text(json.dumps({'results': {'retinanet-conf': [asdict(row) for row in rows]}}))
    monkeypatch.setattr('sys.argv', ['check_targets.py', str(file)])
    with pytest.raises(SystemExit):
        check_targets.main()
    assert '1.100 (1.100 to 1.100) | missed' in capsys.readouterr().out

"""Targets, judged on rows made by hand."""

import check_targets
import pytest
from check_targets import (
    Judgement,
    flop_rates,
    format_judgements,
    judge,
    judge_acceleration,
    judge_repeat,
)
from helpers import make_row

from mmdet_detnet.benchmark import Ratio, Settings, Workload, write_report

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
    ours = make_row(CONFIDENCE, predict_mib=[103], train_mib=[104])
    stock = make_row(RETINANET, predict_mib=[100], train_mib=[100])
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


def test_rows_of_different_settings_are_not_compared():
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
    stock = make_row('stock.py')
    ours, earlier = make_row('ours.py'), make_row('ours.py')
    ours.ratios = {'predict_seconds': Ratio(now, now, now)}
    earlier.ratios = {'predict_seconds': Ratio(1.0, 1.0, 1.0)}
    assert states(judge_repeat('detnet', [ours, stock], [earlier, stock])) == [state]


def test_rate_counts_two_operations_for_a_multiply_add_of_every_image():
    row = make_row('a.py', [2.0], gmacs={'backbone': 3.0}, workload=Workload(batch=4))
    # 3e9 multiply-adds for each of 4 images in 2 seconds.
    assert flop_rates(row) == [12e9]


def test_judgement_without_a_measurement_has_no_figure():
    assert '| - ' in format_judgements([Judgement('fast enough', 'not measured', 1.0)])


def test_command_line_judges_a_report(tmp_path, monkeypatch, capsys):
    rows = [make_row(CONFIDENCE, [1.1]), make_row(RETINANET, [1.0])]
    file = write_report(rows, tmp_path, 'retinanet-conf', 'cpu')
    monkeypatch.setattr('sys.argv', ['check_targets.py', str(file)])
    with pytest.raises(SystemExit):
        check_targets.main()
    assert '| 1.100 (1.100 to 1.100) | missed' in capsys.readouterr().out

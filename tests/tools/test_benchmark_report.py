"""Targets, sentences, names and pictures, on rows made by hand."""

import json

import pytest
import torch
from benchmarking.failures import explain
from benchmarking.plots import plot_report
from benchmarking.published import published_ap
from benchmarking.repeat import judge_repeat, read_report
from benchmarking.report import format_comparison, format_judgements, write_report
from benchmarking.roofline import flop_rates, roofline
from benchmarking.rows import Row, compare_rows
from benchmarking.targets import Judgement, judge, judge_acceleration
from benchmarking.workload import PLAIN, Entry, Settings

CPU = torch.device('cpu')
CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


def make_row(config, seconds=(), settings=PLAIN, kind='detector', **values):
    entry = Entry(config, kind, settings)
    return Row(entry.title, entry, predict_seconds=list(seconds), **values)


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


def test_name_of_the_file_carries_the_setting_and_is_never_used_twice(tmp_path):
    settings = Settings('bf16', channels_last=True, compile=True)
    names = [write_report(tmp_path, ['detnet', 'ipgnet'], settings, CPU, {}).name for _ in 'AB']
    stem = f'benchmark_detnet+ipgnet_cpu_torch{torch.__version__}_bf16_nhwc_compiled'
    assert names == [f'{stem}.json', f'{stem}_2.json']


def test_rate_counts_two_operations_for_a_multiply_add_of_every_image():
    row = make_row('a.py', [2.0], gmacs={'backbone': 3.0}, images=4)
    # 3e9 multiply-adds for each of 4 images in 2 seconds.
    assert flop_rates(row) == [12e9]


def test_roofline_is_the_share_of_the_matrix_product():
    product = make_row('matrix product', [1.0, 2.0], kind='matmul', gmacs={'product': 10.0})
    backbone = make_row('a.py', [2.0, 4.0], kind='backbone', gmacs={'backbone': 5.0})
    assert compare_rows(product, backbone) == {}
    # 10 GFLOP in 2 s beside 20 in 1 s, in both rounds.
    assert [line['of the matrix product'] for line in roofline([product, backbone])] == [
        '1.00',
        '0.25',
    ]


def test_failure_is_in_the_table_and_below_it():
    row = make_row('a.py', failure='out of memory: take less.')
    text = format_comparison([row, make_row('b.py', [1.0])])
    assert '| failed ' in text
    assert 'FAILED a: out of memory: take less.' in text


@pytest.mark.parametrize(
    ('error', 'start'),
    [
        (torch.cuda.OutOfMemoryError('CUDA out of memory.'), 'out of memory: take a smaller'),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            'out of memory',
        ),
        (FileNotFoundError('no config x.py.'), 'missing file: no config x.py.'),
        (KeyError('Net is not in the mmdet::model registry. Check'), 'unknown module: Net is not'),
        (ValueError('first\nsecond'), 'ValueError: first.'),
        (AssertionError(), 'AssertionError: AssertionError.'),
    ],
)
def test_errors_become_sentences(error, start):
    assert explain(error).startswith(start)


def test_published_precision_names_its_source():
    assert published_ap('mmdet::double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py') == (
        40.0,
        'MMDetection',
    )
    ours = published_ap('detnet/faster-rcnn_detnet59_fpn_2x_coco.py')
    assert ours == (40.2, 'paper, Table 1')
    assert published_ap('my/own.py') is None


def test_picture_is_drawn_of_what_a_file_holds(tmp_path):
    ours = make_row(CONFIDENCE, [1.0, 1.1], predict_mib=1.0)
    stock = make_row(RETINANET, [1.0, 1.0], predict_mib=1.0)
    ours.ratios = compare_rows(ours, stock)
    rows = [ours, make_row('failed.py', failure='gone'), stock]
    report = {
        'device': 'a machine',
        'torch': '2',
        'workload': {'batch': 1, 'height': 8, 'width': 8},
        'results': {'retinanet-conf': rows},
    }
    file = write_report(tmp_path, ['a'], PLAIN, CPU, report)
    assert plot_report(json.loads(file.read_text()), tmp_path / 'plot.png').stat().st_size > 0


def test_no_picture_without_ratios(tmp_path):
    assert plot_report({'results': {'a': []}}, tmp_path / 'plot.png') is None


def test_judgement_without_a_measurement_has_no_figure():
    assert '| - ' in format_judgements([Judgement('fast enough', 'not measured', 1.0)])

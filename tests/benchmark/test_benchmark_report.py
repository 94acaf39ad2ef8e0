"""Sentences, names and pictures, on rows made by hand."""

import pytest
import torch
from helpers import make_row

from mmdet_detnet.benchmark import Settings, format_rows, read_report, write_report
from mmdet_detnet.benchmark.failures import explain

CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


def test_name_of_the_file_carries_the_setting_and_is_never_used_twice(tmp_path):
    row = make_row('a.py', settings=Settings('bf16', channels_last=True, compile=True))
    names = [write_report([row], tmp_path, 'detnet', 'cpu').name for _ in 'AB']
    stem = f'benchmark_detnet_cpu_torch{torch.__version__}_bf16_nhwc_compiled'
    assert names == [f'{stem}.json', f'{stem}_2.json']


def test_failure_is_in_the_table_and_below_it():
    row = make_row('a.py', failure='out of memory: take less.')
    text = format_rows([row, make_row('b.py', [1.0])])
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


def test_rows_are_read_as_they_were_written_and_drawn(tmp_path):
    ours = make_row(CONFIDENCE, [1.0, 1.1], Settings('bf16'), predict_mib=[1.0])
    stock = make_row(RETINANET, [1.0, 1.0], predict_mib=[1.0])
    ours.compare_with(stock)
    rows = [ours, make_row('failed.py', failure='gone'), stock]
    file = write_report(rows, tmp_path, device='cpu')
    assert read_report(file)['rows'] == rows
    assert file.with_suffix('.png').stat().st_size > 0


def test_no_picture_without_ratios(tmp_path):
    file = write_report([make_row('a.py')], tmp_path, device='cpu')
    assert not file.with_suffix('.png').exists()


def test_file_that_is_no_report_is_named(tmp_path):
    file = tmp_path / 'other.json'
    file.write_text('[]')
    with pytest.raises(ValueError, match=r'other\.json is not a report'):
        read_report(file)


@pytest.mark.parametrize(
    ('seconds', 'sentence'),
    [
        ([1.0] * 4, 'Fewer than 5 rounds do not tell how far another run may differ.'),
        ([1.0] * 5, 'Ratios of another run should agree within 3%.'),
        # Quartiles 0.98 and 1.02: 2.575 * 0.04 / sqrt(5) = 4.6 %.
        (
            [0.9, 0.98, 1.0, 1.02, 1.1],
            'Ratios of another run may differ by more than 3%: inference of a by 4.6%.',
        ),
    ],
)
def test_report_says_how_far_another_run_may_differ(seconds, sentence):
    ours, stock = make_row('a.py', seconds), make_row('b.py', [1.0] * len(seconds))
    for row in (ours, stock):
        row.compare_with(stock)
    assert sentence in format_rows([ours, stock]).splitlines()

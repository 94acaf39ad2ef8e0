"""Sentences, names and pictures, on rows made by hand."""

import json

import pytest
import torch
from helpers import make_row

from mmdet_detnet.benchmark import Settings, format_rows, write_results
from mmdet_detnet.benchmark.measurement import explain

CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


def test_name_of_the_file_carries_the_setting_and_is_never_used_twice(tmp_path):
    row = make_row('a.py', settings=Settings('bf16', channels_last=True, compile=True))
    names = [write_results([row], tmp_path, 'detnet', 'cpu').name for _ in 'AB']
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
        (FileNotFoundError('no config x.py.'), 'FileNotFoundError: no config x.py.'),
        (KeyError('Net is not in the registry.'), 'KeyError: Net is not in the registry.'),
        (ValueError('first\nsecond'), 'ValueError: first.'),
        (AssertionError(), 'AssertionError.'),
    ],
)
def test_errors_become_sentences(error, start):
    assert explain(error).startswith(start)


def test_rows_are_written_with_their_ratios_and_drawn(tmp_path):
    ours = make_row(CONFIDENCE, [1.0, 1.1], Settings('bf16'), predict_mib=[1.0])
    reference = make_row(RETINANET, [1.0, 1.0], predict_mib=[1.0])
    ours.compare_with(reference)
    rows = [ours, make_row('failed.py', failure='gone'), reference]
    file = write_results(rows, tmp_path, device='cpu')
    first, failed, last = json.loads(file.read_text())['rows']
    assert first['ratios']['predict_seconds']['median'] == pytest.approx(1.05)
    assert (failed['failure'], last['predict_seconds']) == ('gone', [1.0, 1.0])
    assert file.with_suffix('.png').stat().st_size > 0

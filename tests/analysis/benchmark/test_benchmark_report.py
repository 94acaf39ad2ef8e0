"""Targets, sentences, names and pictures, on rows made by hand."""

import json

import pytest
import torch
from helpers import make_row

from mmdet_detnet.analysis.benchmark.failures import explain
from mmdet_detnet.analysis.benchmark.plots import plot_report
from mmdet_detnet.analysis.benchmark.published import published_ap
from mmdet_detnet.analysis.benchmark.report import format_comparison, write_report
from mmdet_detnet.analysis.benchmark.roofline import flop_rates, roofline
from mmdet_detnet.analysis.benchmark.rows import compare_rows
from mmdet_detnet.analysis.benchmark.workload import PLAIN, Settings

CPU = torch.device('cpu')
CONFIDENCE = 'retinanet_conf/retinanet-conf_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'


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

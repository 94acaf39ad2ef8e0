"""The command line of the benchmark, from options to the report."""

import json
import sys

import benchmark
import pytest

from mmdet_detnet.benchmark import Workload, timed_networks

RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
# Of images and rounds, for a quick run.
SMALL = '--size 64x96 --rounds 2 --passing 20 --device cpu'.split()


def run(monkeypatch, *arguments):
    """Run the command line in this process."""
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    benchmark.main()


@pytest.mark.parametrize(
    ('options', 'size', 'rounds', 'no_training'),
    [
        ([], (800, 1333), 10, False),
        (['--quick'], (320, 480), 3, False),
        (['--quick', '--size', '160x200', '--rounds', '5'], (160, 200), 5, False),
        (['--amp', 'bf16'], (800, 1333), 10, True),  # mmcv's NMS on the CPU, part of training
    ],
)
def test_options_change_others(monkeypatch, options, size, rounds, no_training):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', SLIM, SLIM, '--device', 'cpu', *options])
    args = benchmark.parse_args()
    assert (args.size, args.rounds, args.no_training) == ([size], rounds, no_training)


@pytest.mark.usefixtures('in_this_process')
def test_command_line_reports_every_round_and_what_failed(monkeypatch, tmp_path, capsys):
    unknown = tmp_path / 'unknown.py'
    unknown.write_text(f"_base_ = '{RETINANET}'\nmodel = dict(backbone=dict(type='NoSuchNet'))\n")
    with pytest.raises(SystemExit, match='1 could not be measured'):
        run(monkeypatch, str(unknown), SLIM, *SMALL, '--warm-up', '1', '--out-dir', str(tmp_path))
    printed = capsys.readouterr().out
    assert 'FAILED unknown: KeyError: NoSuchNet is not in the' in printed
    (file,) = tmp_path.glob('unknown_*.json')
    failed, reference = json.loads(file.read_text())['rows']
    assert failed['failure'] in printed
    assert len(reference['train_seconds']) == len(reference['predict_seconds']) == 2
    assert (reference['predict_mib'], reference['train_mib']) == ([1.0], [2.0])
    assert reference['workload']['height'] == 64


@pytest.mark.usefixtures('in_this_process')
def test_ctrl_c_keeps_the_finished_rounds_and_exits_with_130(monkeypatch, tmp_path, capsys):
    calls = []

    def train(self):
        calls.append(self)
        if len(calls) == 4:  # the second row of the second round
            raise KeyboardInterrupt

    monkeypatch.setattr(timed_networks.TimedDetector, 'train', train)
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, SLIM, SLIM, *SMALL, '--warm-up', '0', '--out-dir', str(tmp_path))
    assert exit_info.value.code == 130
    assert '| inference ' in capsys.readouterr().out
    (file,) = tmp_path.glob('*.json')
    rows = json.loads(file.read_text())['rows']
    assert [len(row['predict_seconds']) for row in rows] == [2, 2]
    assert [len(row['train_seconds']) for row in rows] == [1, 1]


def test_every_size_is_measured_with_every_batch(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, 'make_rows', lambda _, workload: seen.append(workload) or [])
    options = '--batch 1 2 --size 32x64 64x64 --candidates 9 --device cpu'.split()
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', SLIM, SLIM, *options])
    benchmark.make_all_rows(benchmark.parse_args())
    shapes = [(32, 64, 1), (32, 64, 2), (64, 64, 1), (64, 64, 2)]
    assert seen == [Workload(*shape, candidates=9) for shape in shapes]


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('--size', '0x64', 'got 0x64'),
        ('--device', 'gpu', '--device: must be like cpu or cuda:0, got gpu'),
        ('--device', 'cuda:99', 'CUDA devices here, got cuda:99'),
        ('--rounds', '0', '--rounds: must be at least 1, got 0'),
        ('--checkpoints', 'one.pth', 'checkpoints must be one file for each'),
    ],
)
def test_wrong_option_is_named(monkeypatch, capsys, option, value, message):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, SLIM, SLIM, '--device', 'cpu', option, value)
    assert message in capsys.readouterr().err + str(stop.value)

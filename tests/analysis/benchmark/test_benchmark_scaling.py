"""Curves over batch and image size, and the model of a training on several GPUs."""

import json
import sys

import benchmark_scaling
import pytest

from mmdet_detnet.analysis.benchmark import comparison
from mmdet_detnet.analysis.benchmark.rows import Row
from mmdet_detnet.analysis.benchmark.scaling import (
    Point,
    choose_curves,
    estimate_training,
    make_workloads,
    training_hours,
)
from mmdet_detnet.analysis.benchmark.workload import Entry, Workload

SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


def test_workload_of_both_curves_is_measured_once():
    workloads = make_workloads([1, 2], [(32, 64), (64, 96)], base_batch=1)
    shapes = [(w.batch, w.height, w.width) for w in workloads]
    assert shapes == [(1, 64, 96), (2, 64, 96), (1, 32, 64)]


@pytest.mark.parametrize('sizes', [[(32, 64), (64, 96)], [(64, 96), (32, 64)]])
def test_curves_have_all_batches_and_all_sizes(sizes):
    points = [Point(each, []) for each in make_workloads([1, 2, 4], sizes, base_batch=1)]
    by_batch, by_size = choose_curves(points)
    assert [(p.workload.batch, p.workload.height) for p in by_batch] == [
        (batch, sizes[-1][0]) for batch in (1, 2, 4)
    ]
    assert {(p.workload.batch, p.workload.height) for p in by_size} == {(1, 32), (1, 64)}


def test_one_gpu_sends_no_gradients():
    # 117,266 images two at a time are 58,633 steps an epoch.
    assert training_hours(1.0, 10**9, 1, 2, bandwidth=1.0) == 12 * 58_633 / 3600


def test_eight_gpus_send_seven_quarters_of_the_gradients():
    # 16 images a step: 7,330 steps; 2 * 7/8 * 4 bytes * 1e9 at 1e9 bytes per second are 7 s.
    assert training_hours(1.0, 10**9, 8, 2, bandwidth=1e9) == pytest.approx(12 * 7330 * 8 / 3600)


def make_point(batch, height, seconds):
    entry = Entry('a.py')
    row = Row(entry.title, entry, trained_parameters=10**6, train_seconds=seconds)
    return Point(Workload(height, 64, batch), [row])


def test_estimate_uses_the_largest_images_at_the_batch_of_a_gpu():
    points = [make_point(1, 64, [9.0]), make_point(2, 64, [1.0, 2.0, 9.0]), make_point(2, 32, [1])]
    (line,) = estimate_training(points, images_per_gpu=2, bandwidth=1e9)
    assert (line['images'], line['step s'], line['gradients MB']) == ('64x64', 2.0, 4.0)


def test_no_estimate_of_what_was_not_measured():
    assert estimate_training([make_point(1, 64, [9.0])], images_per_gpu=2, bandwidth=1.0) == []
    assert estimate_training([make_point(2, 64, [])], images_per_gpu=2, bandwidth=1.0) == []


def run(monkeypatch, *arguments):
    monkeypatch.setattr(comparison, 'run_alone', lambda function, *arguments: (1.0, 2.0))
    monkeypatch.setattr(sys, 'argv', ['benchmark_scaling.py', *arguments])
    benchmark_scaling.main()


def test_command_line_measures_both_curves(monkeypatch, tmp_path, capsys):
    options = '--batches 2 --sizes 32x64 --rounds 1 --warm-up 0 --device cpu'.split()
    run(monkeypatch, SLIM, *options, '--out-dir', str(tmp_path))
    assert 'ESTIMATE, not measured: 12 epochs of 117,266 images' in capsys.readouterr().out
    (file,) = tmp_path.glob('benchmark_scaling_cpu_torch*.json')
    report = json.loads(file.read_text())
    assert [point['workload']['batch'] for point in report['points']] == [2, 1]
    assert file.with_suffix('.png').stat().st_size > 0


@pytest.mark.parametrize('size', ['64', '64x', '0x64', 'ax64'])
def test_wrong_size_is_refused(monkeypatch, capsys, size):
    with pytest.raises(SystemExit):
        run(monkeypatch, SLIM, '--sizes', size)
    assert f'got {size}' in capsys.readouterr().err

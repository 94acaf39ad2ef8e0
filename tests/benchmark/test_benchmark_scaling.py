"""Curves over batch and image size."""

import sys

import benchmark_scaling
import pytest

from mmdet_detnet.benchmark import Workload, read_report
from mmdet_detnet.benchmark.plots import choose_curves

SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


def test_curves_have_all_batches_of_one_size_and_all_sizes_of_one_batch():
    batches = [Workload(64, 96, batch) for batch in (1, 2, 4)]
    smaller = Workload(32, 64, 1)
    assert choose_curves([*batches, smaller]) == (batches, [batches[0], smaller])


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['benchmark_scaling.py', *arguments])
    benchmark_scaling.main()


@pytest.mark.usefixtures('in_this_process')
def test_command_line_measures_both_curves(monkeypatch, tmp_path, capsys):
    options = '--batches 2 --sizes 32x64 --rounds 1 --warm-up 0 --device cpu'.split()
    run(monkeypatch, SLIM, *options, '--out-dir', str(tmp_path))
    assert '2 x 32 x 64' in capsys.readouterr().out
    (file,) = tmp_path.glob('benchmark_scaling_cpu_torch*.json')
    assert [row.workload.batch for row in read_report(file)['rows']] == [2, 1]
    assert file.with_suffix('.png').stat().st_size > 0


@pytest.mark.parametrize('size', ['64', '64x', '0x64', 'ax64'])
def test_wrong_size_is_refused(monkeypatch, capsys, size):
    with pytest.raises(SystemExit):
        run(monkeypatch, SLIM, '--sizes', size)
    assert f'got {size}' in capsys.readouterr().err

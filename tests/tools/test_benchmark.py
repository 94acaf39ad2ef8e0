"""The benchmark's bookkeeping, and its counts against published ones."""

import json
import sys

import benchmark
import pytest
import torch
from benchmarking.comparison import count_gmacs, load_config
from benchmarking.detectors import Workload, build_detector, make_batch, predict, raise_scores
from benchmarking.memory import PeakMemory, run_alone
from benchmarking.timing import ratio, time_in_turn

CPU = torch.device('cpu')
SMALL = Workload(height=64, width=96, batch=1, candidates=50)
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
RETINANET_CAFFE = 'mmdet::retinanet/retinanet_r50-caffe_fpn_1x_coco.py'
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


def test_actions_run_in_turn_and_warm_up_is_not_timed():
    calls = []
    actions = [lambda name=name: calls.append(name) for name in 'AB']
    seconds = time_in_turn(actions, rounds=2, warm_up=1, device=CPU)
    assert calls == list('ABABAB')
    assert [len(times) for times in seconds] == [2, 2]


def test_ratio_is_taken_round_by_round():
    # 1/2, 2/2, 3/2, 4/2 and 10/4: the median is the third, the quartiles the second and fourth.
    result = ratio([1.0, 2.0, 3.0, 4.0, 10.0], [2.0, 2.0, 2.0, 2.0, 4.0])
    assert (result.low, result.median, result.high) == (1.0, 1.5, 2.0)


def test_retinanet_has_its_published_parameters_and_operations():
    with torch.device('meta'):
        # The published count is of the net with the stride in the 1x1 convolutions.
        detector = build_detector(load_config(RETINANET_CAFFE), SMALL, torch.device('meta'))
        gmacs = count_gmacs(detector, {'inputs': torch.empty(1, 3, 800, 800)})
    batch_norm = 53_120
    assert sum(p.numel() for p in detector.parameters()) == 37_915_572 + batch_norm
    assert round(gmacs) == 146


def test_wanted_number_of_scores_exceeds_the_threshold():
    detector = build_detector(load_config(RETINANET), SMALL, CPU)
    batch = make_batch(detector, SMALL, CPU)
    raise_scores(detector, batch, SMALL.candidates)
    with torch.no_grad():
        levels = detector(**batch, mode='tensor')[0]
    scores = torch.cat([level.flatten() for level in levels]).sigmoid()
    # The last of them lies on the threshold, on either side of it.
    assert (scores > 0.05).sum().item() in (SMALL.candidates - 1, SMALL.candidates)
    predict(detector, batch)


def allocate(mebibytes):
    peak = PeakMemory(CPU)
    torch.ones(mebibytes * 2**18).sum()
    return peak.mebibytes()


def test_peak_memory_is_what_was_allocated():
    assert run_alone(allocate, 200) == pytest.approx(200, abs=30)


def test_any_configs_are_a_comparison_and_the_name_is_the_firsts():
    assert benchmark.find_comparisons(['a/ours.py', 'stock.py']) == {
        'ours': ['a/ours.py', 'stock.py']
    }


def test_a_single_config_has_nothing_to_be_compared_with():
    with pytest.raises(SystemExit, match='at least two configs'):
        benchmark.find_comparisons(['ours.py'])


def run(monkeypatch, *arguments):
    """Run the command line in this process."""
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    benchmark.main()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_missing_gpu_is_said_in_a_sentence(monkeypatch):
    with pytest.raises(SystemExit, match='torch sees no CUDA device'):
        run(monkeypatch, 'detnet', '--device', 'cuda')


def test_report_holds_every_round(monkeypatch, tmp_path):
    options = '--height 64 --width 96 --rounds 2 --warm-up 1 --device cpu --out-dir'.split()
    run(monkeypatch, SLIM, SLIM, *options, str(tmp_path))
    (file,) = tmp_path.glob('benchmark_cpu_torch*.json')
    report = json.loads(file.read_text())
    (rows,) = report['results'].values()
    assert [len(row['train_seconds']) for row in rows] == [2, 2]
    assert report['workload']['height'] == 64

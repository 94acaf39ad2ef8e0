"""Times and memory: what is measured, in which order, and how rows are divided."""

import multiprocessing
import signal
import time
from concurrent.futures import Future

import pytest
import torch

from mmdet_detnet.benchmark import Entry, Workload
from mmdet_detnet.benchmark.measurement import (
    MEBIBYTE,
    measure_memory,
    run_alone,
    time_in_turn,
    watch_memory,
)
from mmdet_detnet.benchmark.results import divide

CPU = torch.device('cpu')
SMALL = Workload(height=64, width=96, passing=20)
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


def test_actions_run_in_turn_and_warm_up_is_not_timed():
    calls = []
    actions = [lambda name=name: calls.append(name) for name in 'AB']
    rounds = list(time_in_turn(actions, rounds=2, warm_up=1, device=CPU))
    assert calls == list('ABABAB')
    assert [len(times) for times in rounds] == [2, 2]


def test_ratio_is_taken_round_by_round():
    # 1/2, 2/2, 3/2, 4/2 and 10/4: the median is the third, the quartiles the second and fourth.
    result = divide([1.0, 2.0, 3.0, 4.0, 10.0], [2.0, 2.0, 2.0, 2.0, 4.0])
    assert (result.low, result.median, result.high) == (1.0, 1.5, 2.0)


def measure_and_allocate(mebibytes):
    measured = measure_memory(Entry(SLIM), SMALL, CPU, train=True)
    read_peak = watch_memory(CPU)
    torch.ones(mebibytes * 2**18).sum()
    return measured, read_peak()


def test_peak_memory_is_what_was_allocated():
    ((predicting,), (training,)), allocated = run_alone(measure_and_allocate, 200)
    assert allocated == pytest.approx(200, abs=30)
    assert 0 < predicting <= training


@pytest.mark.cuda
def test_peak_memory_of_a_gpu_leaves_out_what_was_freed():
    torch.ones(2**26, device='cuda')
    allocated = torch.cuda.memory_allocated() / MEBIBYTE
    read_peak = watch_memory(torch.device('cuda'))
    torch.ones(200 * 2**18, device='cuda').sum()
    assert read_peak() == pytest.approx(allocated + 200, abs=2)


def test_interrupted_process_that_measures_memory_is_not_waited_for(monkeypatch):
    others, children = multiprocessing.active_children(), []

    def result(self):
        children.extend(set(multiprocessing.active_children()) - set(others))
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, 'result', result)
    with pytest.raises(KeyboardInterrupt):
        run_alone(time.sleep, 60)
    assert [child.exitcode for child in children] == [-signal.SIGKILL]

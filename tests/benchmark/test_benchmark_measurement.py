"""A comparison from entries to rows: order, times, memory, failures and precision."""

import warnings

import pytest
import torch
from helpers import fork_server, make_row

from mmdet_detnet.benchmark import (
    Entry,
    Rounds,
    Settings,
    Workload,
    compare,
    format_rows,
    measurement,
    timed_networks,
)
from mmdet_detnet.benchmark.comparisons import PLAIN

CPU = torch.device('cpu')
SMALL = Workload(height=64, width=96, passing=20)
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
FAST = Settings('bf16', channels_last=True, compile=True)
ONCE = Rounds(timed=1, warm_up=0)


def test_actions_run_in_turn_and_warm_up_is_not_timed():
    calls = []
    actions = [lambda name=name: calls.append(name) for name in 'AB']
    rounds = list(measurement.time_in_turn(actions, rounds=2, warm_up=1, device=CPU))
    assert calls == list('ABABAB')
    assert [len(times) for times in rounds] == [2, 2]


def test_ratio_is_taken_round_by_round_and_failures_are_named():
    # 1/2, 2/2, 3/2, 4/2 and 10/4: the median is the third, the quartiles the second and fourth.
    rows = [
        make_row('a.py', [1.0, 2.0, 3.0, 4.0, 10.0]),
        make_row('b.py', failure='out of memory: take less.'),
        make_row('c.py', [2.0, 2.0, 2.0, 2.0, 4.0]),
    ]
    text = format_rows(rows)
    assert '3.000 s: 1.500 (1.000 to 2.000)' in text
    assert '| failed ' in text
    assert 'FAILED b: out of memory: take less.' in text


def measure_and_allocate(mebibytes):
    measured = measurement.measure_memory(Entry(SLIM), SMALL, CPU, train=True)
    read_peak = measurement.watch_memory(CPU)
    torch.ones(mebibytes * 2**18).sum()
    return measured, read_peak()


@pytest.mark.xdist_group('fork server')
def test_peak_memory_is_what_was_allocated(monkeypatch):
    context = fork_server()
    monkeypatch.setattr(measurement.multiprocessing, 'get_context', lambda method: context)
    ((predicting,), (training,)), allocated = measurement.run_alone(measure_and_allocate, 200)
    assert allocated == pytest.approx(200, abs=30)
    assert 0 < predicting <= training


@pytest.mark.cuda
def test_peak_memory_of_a_gpu_leaves_out_what_was_freed():
    torch.ones(2**26, device='cuda')
    allocated = torch.cuda.memory_allocated() / measurement.MEBIBYTE
    read_peak = measurement.watch_memory(torch.device('cuda'))
    torch.ones(200 * 2**18, device='cuda').sum()
    assert read_peak() == pytest.approx(allocated + 200, abs=2)


class Failing(timed_networks.TimedDetector):
    def train(self):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')


@pytest.mark.usefixtures('in_this_process')
def test_row_that_fails_keeps_what_it_has_and_others_go_on(monkeypatch):
    monkeypatch.setitem(timed_networks.NETWORKS, 'failing', Failing)
    monkeypatch.setattr(measurement, 'build_without_weights', lambda config: 1 / 0)
    entries = [Entry(SLIM, 'failing'), Entry(SLIM), Entry('nowhere.py')]
    failed, row, reference = compare(entries, SMALL, ONCE, CPU)
    assert failed.failure.startswith('out of memory: take a smaller batch')
    assert (len(failed.predict_seconds), failed.train_seconds) == (1, [])
    assert (row.failure, len(row.train_seconds)) == (None, 1)
    assert row.parameters == 2_251_175
    assert 'nowhere.py' in reference.failure
    assert row.divide_by(reference, 'train_seconds') is None


@pytest.mark.parametrize(('load', 'warns'), [(0.2, False), (1.7, True)])
def test_busy_machine_is_warned_of(monkeypatch, load, warns):
    monkeypatch.setattr('os.getloadavg', lambda: (load, 0, 0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        measurement.warn_if_busy()
    assert [str(each.message)[:24] for each in caught] == ['the load average is 1.7:'] * warns


@pytest.mark.parametrize(
    ('error', 'start'),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 'out of memo'),
        (FileNotFoundError('no config x.py.'), 'FileNotFoundError: no config x.py.'),
        (KeyError('Net is not in the registry.'), 'KeyError: Net is not in the registry.'),
        (ValueError('first\nsecond'), 'ValueError: first.'),
        (AssertionError(), 'AssertionError.'),
    ],
)
def test_errors_become_sentences(error, start):
    assert measurement.explain(error).startswith(start)


@pytest.mark.usefixtures('in_this_process')
def test_accelerated_rows_alone_are_accelerated_and_training_is_left_out_on_demand(monkeypatch):
    calls = []
    monkeypatch.setattr(
        timed_networks, 'accelerate', lambda network, **options: calls.append(options)
    )
    entries = [Entry(SLIM, settings=FAST), Entry(SLIM)]
    rows = compare(entries, SMALL, Rounds(timed=1, warm_up=0, training=False), CPU)
    assert calls == [dict(channels_last=True, compile=True, dtype='bf16')]
    assert [(len(row.predict_seconds), len(row.train_seconds)) for row in rows] == [(1, 0)] * 2


@pytest.mark.parametrize(
    ('kind', 'actions'),
    [
        ('backbone', ['predict', 'train']),
        # mmcv's NMS on the CPU cannot train in low precision.
        ('detector', ['predict']),
        ('roi_head', ['predict']),
    ],
)
def test_low_precision_runs(kind, actions):
    entry = Entry(SLIM, kind, Settings('bf16', channels_last=True))
    subject = timed_networks.NETWORKS[kind](entry, SMALL, CPU)
    dtypes = set()
    for module in subject.network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    for action in actions:
        getattr(subject, action)()
        assert torch.bfloat16 in dtypes, action
        dtypes.clear()


@pytest.mark.cuda
@pytest.mark.parametrize('settings', [PLAIN, Settings('fp16', channels_last=True)])
def test_every_kind_runs_on_a_gpu(settings):
    for kind in ('backbone', 'detector', 'roi_head'):
        entries = [Entry(SLIM, kind, settings), Entry(SLIM, kind)]
        rows = compare(entries, SMALL, Rounds(timed=1, warm_up=1), 'cuda')
        assert [row.failure for row in rows] == [None, None]
        assert rows[0].predict_mib[0] > 0

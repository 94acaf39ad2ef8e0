"""A comparison from entries to rows: failures, interruptions, progress and precision."""

import warnings

import pytest
import torch

from mmdet_detnet.benchmark import (
    Entry,
    Rounds,
    Settings,
    Workload,
    compare,
    make_rows,
    measure,
    measurement,
    timed_networks,
)
from mmdet_detnet.benchmark.comparisons import PLAIN

CPU = torch.device('cpu')
SMALL = Workload(height=64, width=96, passing=20)
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
FAST = Settings('bf16', channels_last=True, compile=True)


class Failing(timed_networks.TimedDetector):
    def train(self):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')


@pytest.mark.usefixtures('in_this_process')
def test_row_that_runs_out_of_memory_keeps_what_it_has_and_others_go_on(monkeypatch):
    monkeypatch.setitem(timed_networks.NETWORKS, 'failing', Failing)
    monkeypatch.setattr(measurement, 'count_gmacs', lambda *arguments: {})
    monkeypatch.setattr(torch.nn.Module, 'failing', torch.nn.Identity(), raising=False)
    entries = [Entry(SLIM, 'failing'), Entry(SLIM)]
    failed, reference = compare(entries, SMALL, Rounds(timed=1, warm_up=0), CPU)
    assert failed.failure.startswith('out of memory: take a smaller batch')
    assert len(failed.predict_seconds) == 1
    assert failed.train_seconds == []
    assert reference.failure is None
    assert len(reference.train_seconds) == 1


@pytest.mark.usefixtures('in_this_process')
def test_without_a_reference_the_others_are_measured_and_have_no_ratios(capsys):
    entries = [Entry(SLIM), Entry('nowhere.py')]
    row, reference = compare(entries, SMALL, Rounds(timed=1, warm_up=0), CPU)
    assert 'nowhere.py' in reference.failure
    assert len(row.predict_seconds) == 1
    assert row.ratios == {}
    assert '1 x 64 x 96: 100%' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(('load', 'warns'), [(0.2, False), (1.7, True)])
def test_busy_machine_is_warned_of(monkeypatch, load, warns):
    monkeypatch.setattr('os.getloadavg', lambda: (load, 0, 0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        measurement.warn_if_busy()
    assert [str(each.message)[:24] for each in caught] == ['the load average is 1.7:'] * warns


@pytest.mark.usefixtures('in_this_process')
def test_interrupted_rows_hold_the_finished_rounds(interrupt_training):
    interrupt_training(call=4)  # the second row of the second round
    rows = make_rows([SLIM, SLIM], SMALL)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        measure(
            rows,
            Rounds(timed=2, warm_up=0, split=False),
            CPU,
            lambda: seen.append([len(row.train_seconds) for row in rows]),
        )
    assert [len(row.predict_seconds) for row in rows] == [2, 2]
    assert [len(row.train_seconds) for row in rows] == [1, 1]
    assert rows[0].ratios['train_seconds'].rounds == 1
    # Twice memory, two rounds of inference, one of training.
    assert seen == [[0, 0]] * 4 + [[1, 1]]


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

"""The benchmark's command line and its bookkeeping."""

import json
import multiprocessing
import signal
import sys
import time
from concurrent.futures import Future

import benchmark
import pytest
import torch
from helpers import make_row

from mmdet_detnet.analysis.benchmark import (
    comparison,
    make_rows,
    measure,
    measurement,
    read_report,
    subjects,
)
from mmdet_detnet.analysis.benchmark.building import build_detector, load_config, make_batch
from mmdet_detnet.analysis.benchmark.catalogue import (
    COMPARISONS,
    Comparison,
    find_comparisons,
    make_entries,
)
from mmdet_detnet.analysis.benchmark.comparison import compare
from mmdet_detnet.analysis.benchmark.memory import PeakMemory, run_alone
from mmdet_detnet.analysis.benchmark.realism import raise_scores
from mmdet_detnet.analysis.benchmark.rows import ratio
from mmdet_detnet.analysis.benchmark.timing import time_in_turn
from mmdet_detnet.analysis.benchmark.workload import PLAIN, Entry, Rounds, Settings, Workload

CPU = torch.device('cpu')
SMALL = Workload(height=64, width=96, batch=1, candidates=50, survivors=20)
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
FAST = Settings('bf16', channels_last=True, compile=True)


def test_actions_run_in_turn_and_warm_up_is_not_timed():
    calls = []
    actions = [lambda name=name: calls.append(name) for name in 'AB']
    rounds = list(time_in_turn(actions, rounds=2, warm_up=1, device=CPU))
    assert calls == list('ABABAB')
    assert [len(times) for times in rounds] == [2, 2]


def test_a_spent_budget_leaves_one_timed_round():
    calls = []
    rounds = time_in_turn([lambda: calls.append(1)], rounds=9, warm_up=2, device=CPU, budget=1e-9)
    assert len(list(rounds)) == 1
    assert len(calls) == 3


def test_ratio_is_taken_round_by_round():
    # 1/2, 2/2, 3/2, 4/2 and 10/4: the median is the third, the quartiles the second and fourth.
    result = ratio([1.0, 2.0, 3.0, 4.0, 10.0], [2.0, 2.0, 2.0, 2.0, 4.0])
    assert (result.low, result.median, result.high) == (1.0, 1.5, 2.0)


def test_wanted_number_of_scores_exceeds_the_threshold():
    detector = build_detector(load_config(RETINANET), SMALL, CPU)
    batch = make_batch(detector, SMALL, CPU)
    raise_scores(detector, batch, SMALL.candidates)
    with torch.no_grad():
        levels = detector(**batch, mode='tensor')[0]
    scores = torch.cat([level.flatten() for level in levels]).sigmoid()
    # The last of them lies on the threshold, on either side of it.
    assert (scores > 0.05).sum().item() in (SMALL.candidates - 1, SMALL.candidates)


def allocate(mebibytes):
    peak = PeakMemory(CPU)
    torch.ones(mebibytes * 2**18).sum()
    return peak.mebibytes()


def test_peak_memory_is_what_was_allocated():
    assert run_alone(allocate, 200) == pytest.approx(200, abs=30)


def test_any_configs_are_a_comparison_and_the_name_is_the_firsts():
    found = find_comparisons(['a/ours.py', 'stock.py'])
    assert found == {'ours': Comparison(('a/ours.py', 'stock.py'))}


def test_a_single_config_has_nothing_to_be_compared_with():
    with pytest.raises(ValueError, match='at least two configs'):
        find_comparisons(['ours.py'])


def test_roi_heads_are_compared_at_four_numbers_of_survivors():
    found = find_comparisons(['double-head-roi'])
    assert [c.survivors for c in found.values()] == [50, 100, 200, 1000]


def test_reference_of_every_known_comparison_is_mmdets():
    assert all(known.configs[-1].startswith('mmdet::') for known in COMPARISONS.values())


@pytest.mark.parametrize(
    ('accelerate', 'expected'),
    [
        ('all', [('a', FAST), ('b', FAST)]),
        ('ours', [('a', FAST), ('b', PLAIN)]),
        ('added', [('a', FAST), ('a', PLAIN), ('b', FAST), ('b', PLAIN)]),
    ],
)
def test_which_rows_are_accelerated(accelerate, expected):
    entries = make_entries(Comparison(('a', 'b')), FAST, accelerate)
    assert [(entry.config, entry.settings) for entry in entries] == expected


def test_accelerated_row_says_so_in_its_title():
    assert Entry('x/a.py').title == 'a'
    assert Entry('mmdet::x/a.py', settings=FAST).title == 'a [bf16_nhwc_compiled]'


class Failing(subjects.DetectorSubject):
    def train(self):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')


@pytest.fixture
def in_this_process(monkeypatch):
    """Spare the start of a process for every row, where memory is not what is tested."""
    monkeypatch.setattr(measurement, 'run_alone', lambda function, *arguments: ([1.0], [2.0]))


@pytest.mark.usefixtures('in_this_process')
def test_row_that_runs_out_of_memory_keeps_what_it_has_and_others_go_on(monkeypatch):
    monkeypatch.setitem(subjects.SUBJECTS, 'failing', Failing)
    monkeypatch.setattr(comparison, '_count', lambda row: None)
    entries = [Entry(SLIM, 'failing'), Entry(SLIM)]
    failed, reference = compare(entries, SMALL, Rounds(timed=1, warm_up=0), CPU)
    assert failed.failure.startswith('out of memory: take a smaller batch')
    assert len(failed.predict_seconds) == 1
    assert failed.train_seconds == []
    assert reference.failure is None
    assert len(reference.train_seconds) == 1


@pytest.mark.usefixtures('in_this_process')
def test_without_a_reference_the_others_are_measured_and_have_no_ratios():
    entries = [Entry(SLIM), Entry('nowhere.py')]
    row, reference = compare(entries, SMALL, Rounds(timed=1, warm_up=0), CPU)
    assert 'nowhere.py' in reference.failure
    assert len(row.predict_seconds) == 1
    assert row.ratios == {}


@pytest.mark.usefixtures('in_this_process')
def test_without_a_terminal_every_measurement_is_a_line(capsys):
    entries = [Entry(SLIM, 'backbone'), Entry(SLIM)]
    compare(entries, SMALL, Rounds(timed=2, warm_up=1), CPU)
    first, *lines = capsys.readouterr().err.splitlines()
    # Memory of both, three times inference and the training step, and twice the detector's split.
    assert first == '1 x 64 x 96: 16 measurements'
    assert len(lines) == 16
    assert lines[0] == f'[1/16] memory, {entries[0].stem}: 1 MiB, 2 MiB'
    assert lines[2].startswith(f'[3/16] inference, warm-up, {entries[0].stem}: ')
    assert lines[-1].startswith(f'[16/16] training step, round 2, {entries[1].stem}: ')


def interrupt_training(monkeypatch, call):
    """Let Ctrl-C come during a training step."""
    calls = []

    def train(self):
        calls.append(self)
        if len(calls) == call:
            raise KeyboardInterrupt

    monkeypatch.setattr(subjects.DetectorSubject, 'train', train)


@pytest.mark.usefixtures('in_this_process')
def test_interrupted_rows_hold_the_finished_rounds(monkeypatch):
    # The second row of the second round.
    interrupt_training(monkeypatch, 4)
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
def test_ctrl_c_prints_tables_writes_the_report_and_exits_with_130(monkeypatch, tmp_path, capsys):
    interrupt_training(monkeypatch, 3)
    size = '--height 64 --width 96 --rounds 2 --warm-up 0 --survivors 20'.split()
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, SLIM, SLIM, *size, '--device', 'cpu', '--out-dir', str(tmp_path))
    assert exit_info.value.code == 130
    printed = capsys.readouterr().out
    assert 'About 1 min for 2 rows' in printed
    assert '| inference ' in printed
    (file,) = tmp_path.glob('*.json')
    assert [len(row.train_seconds) for row in read_report(file)['rows']] == [1, 1]


def test_interrupted_process_that_measures_memory_is_not_waited_for(monkeypatch):
    children = []

    def result(self):
        children.extend(multiprocessing.active_children())
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, 'result', result)
    with pytest.raises(KeyboardInterrupt):
        run_alone(time.sleep, 60)
    assert [child.exitcode for child in children] == [-signal.SIGKILL]


@pytest.mark.usefixtures('in_this_process')
def test_training_is_left_out_on_demand():
    (row,) = compare([SLIM], SMALL, Rounds(timed=1, warm_up=0, training=False), CPU)
    assert len(row.predict_seconds) == 1
    assert row.train_seconds == []


@pytest.mark.usefixtures('in_this_process')
def test_only_accelerated_rows_are_accelerated(monkeypatch):
    calls = []
    monkeypatch.setattr(subjects, 'accelerate', lambda network, **options: calls.append(options))
    entries = [Entry(SLIM, settings=FAST), Entry(SLIM)]
    compare(entries, SMALL, Rounds(timed=1, warm_up=0, training=False), CPU)
    assert calls == [dict(channels_last=True, compile=True, dtype='bf16')]


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
    subject = subjects.SUBJECTS[kind](entry, SMALL, CPU)
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


def run(monkeypatch, *arguments):
    """Run the command line in this process."""
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    benchmark.main()


@pytest.mark.parametrize(
    ('options', 'size', 'rounds'),
    [
        ([], (800, 1333), Rounds(timed=10, warm_up=2)),
        (['--quick'], (320, 480), Rounds(10, 1, split=False, memory=False, seconds=80)),
        (
            ['--quick', '--height', '160', '--no-training'],
            (160, 480),
            Rounds(10, 1, training=False, split=False, memory=False, seconds=80),
        ),
    ],
)
def test_quick_changes_what_is_left_open(monkeypatch, tmp_path, options, size, rounds):
    seen = []

    def make_rows(entries, workload):
        seen.append((workload.height, workload.width))
        return [make_row(SLIM)]

    monkeypatch.setattr(benchmark, 'make_rows', make_rows)
    monkeypatch.setattr(benchmark, 'measure', lambda rows, rounds, *_: seen.append(rounds))
    run(monkeypatch, SLIM, SLIM, '--device', 'cpu', '--out-dir', str(tmp_path), *options)
    assert seen == [size, rounds]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_missing_gpu_is_said_in_a_sentence(monkeypatch):
    with pytest.raises(SystemExit, match='torch sees no CUDA device'):
        run(monkeypatch, 'detnet', '--device', 'cuda')


def test_command_line_reports_every_round_and_what_failed(monkeypatch, tmp_path, capsys):
    unknown = tmp_path / 'unknown.py'
    unknown.write_text(f"_base_ = '{RETINANET}'\nmodel = dict(backbone=dict(type='NoSuchNet'))\n")
    size = '--height 64 --width 96 --rounds 2 --warm-up 1 --survivors 20'.split()
    options = [*size, '--device', 'cpu', '--out-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match='1 could not be measured'):
        run(monkeypatch, str(unknown), SLIM, *options)
    printed = capsys.readouterr().out
    assert 'FAILED unknown: unknown module: NoSuchNet is not in the' in printed
    assert '20 of 100' in printed
    name = f'benchmark_unknown_cpu_torch{torch.__version__}_fp32_nchw_eager.json'
    report = json.loads((tmp_path / name).read_text())
    failed, reference = report['rows']
    assert failed['failure'] in printed
    assert len(reference['train_seconds']) == len(reference['predict_seconds']) == 2
    assert reference['train_mib'][0] > 0
    assert reference['workload']['height'] == 64


@pytest.mark.parametrize(('options', 'training'), [([], True), (['--amp', 'bf16'], False)])
def test_low_precision_on_the_cpu_leaves_training_out(monkeypatch, tmp_path, options, training):
    seen = []

    monkeypatch.setattr(benchmark, 'make_rows', lambda entries, workload: [make_row(SLIM)])
    monkeypatch.setattr(benchmark, 'measure', lambda rows, rounds, *_: seen.append(rounds.training))
    run(monkeypatch, SLIM, SLIM, '--device', 'cpu', '--out-dir', str(tmp_path), *options)
    assert seen == [training]


def test_checkpoint_count_must_match(monkeypatch):
    with pytest.raises(SystemExit, match='checkpoints must be one file for each'):
        run(monkeypatch, SLIM, SLIM, '--device', 'cpu', '--checkpoints', 'one.pth')

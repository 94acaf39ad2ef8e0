"""A comparison without what takes long, and one that is interrupted."""

import pickle

import pytest

from mmdet_detnet.benchmark import measurement, timed_networks


@pytest.fixture
def in_this_process(monkeypatch):
    """Spare the start of a process for every row, where memory is not what is tested."""
    monkeypatch.setattr(
        measurement, 'run_alone', lambda *call: pickle.dumps(call) and ([1.0], [2.0])
    )


@pytest.fixture
def interrupt_training(monkeypatch):
    """Let Ctrl-C come during the given call of a training step."""

    def interrupt(call):
        calls = []

        def train(self):
            calls.append(self)
            if len(calls) == call:
                raise KeyboardInterrupt

        monkeypatch.setattr(timed_networks.TimedDetector, 'train', train)

    return interrupt

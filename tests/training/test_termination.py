"""SIGTERM and the workers of data loaders. A run that gets it: test_interruptions.py."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from mmdet_detnet.training.resuming import RemainingBatches
from mmdet_detnet.training.termination import (
    TerminationRequest,
    hold_termination,
    shield_workers,
    stop_workers,
)


def test_signal_is_remembered_also_after_workers_have_started():
    before = signal.getsignal(signal.SIGTERM)
    request = TerminationRequest()
    request.listen()
    assert not request.is_agreed()
    with hold_termination():
        # To this thread: one of another program's threads would take a signal to the process.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert not request.is_agreed()
    assert request.is_agreed()
    request.stop_listening()
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class _Strangers(Dataset):
    """Has an item that others than the parent send SIGTERM to its worker for."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return index


@pytest.fixture
def shielded_loader():
    handler = signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(_Strangers(), num_workers=2, persistent_workers=True)
    shield_workers(loader)
    yield loader
    stop_workers()
    signal.signal(signal.SIGCHLD, handler)


def test_worker_heeds_its_parent_only_even_while_it_starts(shielded_loader, monkeypatch):
    set_handlers = signal_handling._set_worker_signal_handlers

    def set_and_kill():  # the first thing that a worker calls
        set_handlers()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(signal_handling, '_set_worker_signal_handlers', set_and_kill)
    assert [int(item) for item in shielded_loader] == [*range(4)]
    for worker in [each for each in multiprocessing.active_children() if each.daemon]:
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == 0


def test_workers_are_stopped(shielded_loader):
    next(iter(shielded_loader))
    workers = [each for each in multiprocessing.active_children() if each.daemon]
    assert len(workers) == 2
    stop_workers()
    assert not any(worker.is_alive() for worker in workers)


def test_remaining_batches():
    remaining = RemainingBatches(DataLoader(range(10), batch_size=2), 3)
    assert len(remaining) == 2
    assert [batch.tolist() for batch in remaining] == [[6, 7], [8, 9]]
    assert remaining.batch_size == 2

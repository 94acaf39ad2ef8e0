"""SIGTERM and the workers of data loaders. A training that gets it: test_interruptions.py."""

import multiprocessing
import os
import signal
import time
from functools import partial

import pytest
from torch.utils.data import DataLoader

from mmdet_detnet.training.resuming import RemainingBatches
from mmdet_detnet.training.termination import TerminationRequest, heed_parent_only, stop_workers


@pytest.fixture
def request_to_end():
    request = TerminationRequest()
    request.listen()
    yield request
    request.stop_listening()


def test_signal_is_remembered(request_to_end):
    assert not request_to_end.is_agreed()
    os.kill(os.getpid(), signal.SIGTERM)
    assert request_to_end.is_agreed()


def test_signal_is_left_as_it_was():
    before = signal.getsignal(signal.SIGTERM)
    request = TerminationRequest()
    request.listen()
    assert signal.getsignal(signal.SIGTERM) != before
    request.stop_listening()
    assert signal.getsignal(signal.SIGTERM) == before


def _be_worker(ready):
    heed_parent_only(None, 0)
    ready.set()
    time.sleep(60)


def test_worker_heeds_its_parent_only():
    context = multiprocessing.get_context('fork')
    ready = context.Event()
    worker = context.Process(target=_be_worker, args=[ready], daemon=True)
    worker.start()
    ready.wait()
    stranger = context.Process(target=os.kill, args=[worker.pid, signal.SIGTERM])
    stranger.start()
    stranger.join()
    worker.join(0.2)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_workers_are_stopped():
    handler = signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(range(8), num_workers=2, persistent_workers=True)
    loader.worker_init_fn = partial(heed_parent_only, None)
    iterator = iter(loader)
    next(iterator)
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    assert len(workers) == 2
    try:
        stop_workers()
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert not any(worker.is_alive() for worker in workers)


def test_remaining_batches():
    remaining = RemainingBatches(DataLoader(range(10), batch_size=2), 3)
    assert len(remaining) == 2
    assert [batch.tolist() for batch in remaining] == [[6, 7], [8, 9]]
    assert remaining.batch_size == 2

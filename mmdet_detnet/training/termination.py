"""SIGTERM, with which Slurm, `timeout` and spot instances ask a training run to stop."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch.utils.data import DataLoader

EXIT_CODE = 128 + signal.SIGTERM
# What a run handles, the workers of data loaders (SIGCHLD) and torchrun included.
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT)
_HAS_MASK = hasattr(signal, 'sigwaitinfo')  # Linux


class TerminationRequest:
    """Records SIGTERM; all ranks see it in the same iteration."""

    received = False

    def listen(self) -> None:
        """Handle SIGTERM from now on; do nothing outside the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._receive)

    def stop_listening(self) -> None:
        """Restore the previous handler of SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous)

    def _receive(self, signal_number: int, frame: FrameType | None) -> None:
        self.received = True

    def is_agreed(self) -> bool:
        """Ask whether any rank must stop; call once per iteration on every rank."""
        flag = torch.tensor(int(self.received))
        all_reduce(flag, 'max')
        return bool(flag)


@contextlib.contextmanager
def restore_handlers() -> Iterator[None]:
    """Restore the signals' handlers at the end; do nothing outside the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in HANDLED if is_main}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop_workers() -> None:
    """Stop the data loader workers of this process before it exits."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch treats a killed worker as an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
            child.join()


def shield_workers(loader: DataLoader) -> None:
    """Make the workers of a data loader obey SIGTERM only from their parent.

    Slurm and `timeout` send the signal to all processes, but training needs its workers to finish
    the step.
    """
    loader.worker_init_fn = partial(_heed_parent_only, loader.worker_init_fn)
    # There is no public way to act only when workers start, and not in every epoch.
    start = loader._get_iterator

    def start_shielded() -> Any:
        with hold_termination():
            return start()

    setattr(loader, '_get_iterator', start_shielded)  # noqa: B010 - mypy allows no method


@contextlib.contextmanager
def hold_termination() -> Iterator[None]:
    """Receive SIGTERM only at the end; processes started meanwhile do not receive it at all."""
    if not _HAS_MASK:
        yield
        return
    # Started by the first worker that is not forked, it would unblock the signal (Python 3.11).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heed_parent_only(inner: Callable[[int], None] | None, worker_id: int) -> None:
    if _HAS_MASK:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, args=[os.getppid()], daemon=True).start()
    if inner is not None:
        inner(worker_id)


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)

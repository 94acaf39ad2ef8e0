"""SIGTERM, with which Slurm, `timeout` and spot instances ask a training run to stop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import torch
from mmengine.dist import get_comm_device, is_distributed
from torch import distributed

from .late_values import LateValues

EXIT_CODE = 128 + signal.SIGTERM


class TerminationRequest:
    """Records SIGTERM; all ranks see it in the same iteration.

    Args:
        max_lag: Number of iterations by which GPUs may see it late, so that none waits for the
            host.
    """

    def __init__(self, max_lag: int = 5) -> None:
        self.received = False
        self._late = LateValues(max_lag)

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
        if not is_distributed():
            return self.received
        flag = torch.tensor(float(self.received), device=get_comm_device())
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        self._late.put(flag)
        return any(value > 0 for value, _ in self._late.take())


def stop_workers() -> None:
    """Stop the data loader workers of this process before it exits."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch treats a killed worker as an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
            child.join()


def heed_parent_only(inner: Callable[[int], None] | None, worker_id: int) -> None:
    """Initialize a data loader worker that obeys SIGTERM only from its parent.

    Slurm and `timeout` send the signal to all processes, but training needs its workers to finish
    the step.

    Args:
        inner: Another function that initializes the worker.
        worker_id: Number of the worker.
    """
    if hasattr(signal, 'sigwaitinfo'):  # Linux
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, args=[os.getppid()], daemon=True).start()
    if inner is not None:
        inner(worker_id)


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)

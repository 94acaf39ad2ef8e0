"""Measure peak memory; on the CPU, in a separate process."""

import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar('Result')
KIBIBYTE, MEBIBYTE = 2**10, 2**20


def run_alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a fresh process, to measure only its memory."""
    context = multiprocessing.get_context('spawn')
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        result = pool.submit(function, *arguments)
        try:
            return result.result()
        except KeyboardInterrupt:
            # Otherwise the pool would wait until the function has finished.
            for process in set(multiprocessing.active_children()) - set(others):
                process.kill()
            raise


class PeakMemory:
    """The peak memory since this object was created.

    On a GPU, the memory allocated by torch; on the CPU, the growth of the process's resident
    memory.

    Args:
        device: Device to watch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == 'cuda':
            gc.collect()  # what was measured before
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self.start = _status('VmRSS')

    def mebibytes(self) -> float:
        """Read the peak, in MiB."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self.device) / MEBIBYTE
        return (_status('VmHWM') - self.start) / MEBIBYTE


def _status(field: str) -> int:
    """Read a size from /proc; getrusage would include the parent's memory."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * KIBIBYTE

"""Peak memory of one entry, in a process of its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar('Result')
KIBIBYTE, MEBIBYTE = 2**10, 2**20


def run_alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a fresh process, so that no memory of others counts."""
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
    """The most memory that was in use since this object was made.

    On a GPU it is what torch's allocator handed out, on the CPU how far the resident memory of
    the process grew.

    Args:
        device: Whose memory to watch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = 0 if device.type == 'cuda' else _status('VmRSS')

    def mebibytes(self) -> float:
        """Read the peak, in MiB."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self.device) / MEBIBYTE
        return (_status('VmHWM') - self.start) / MEBIBYTE


def _status(field: str) -> int:
    """Read a size from Linux's account of this process; getrusage would include the parent's."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * KIBIBYTE

"""Read values from a device without blocking the host."""

from collections import deque
from typing import Any

import torch
from torch import Tensor


class HostCopies:
    """A queue of small tensors that are copied from a GPU; those on a CPU are copied at once.

    Args:
        max_lag: Number of later tensors in the queue before :meth:`take` waits for the oldest.
    """

    def __init__(self, max_lag: int) -> None:
        self.max_lag = max_lag
        # The copy, the event after which it is complete, and the note.
        self._queue: deque[tuple[Tensor, torch.cuda.Event | None, Any]] = deque()

    def put(self, values: Tensor, note: object = None) -> None:
        """Start copying a tensor to the host; the note is returned together with it."""
        if not values.is_cuda:
            self._queue.append((values.detach().clone(), None, note))
            return
        host = torch.empty_like(values, device='cpu', pin_memory=True)
        host.copy_(values.detach(), non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._queue.append((host, copied, note))

    def take(self, all: bool = False) -> list[tuple[Tensor, Any]]:
        """Remove, oldest first, tensors from a CPU or more than ``max_lag`` tensors old, or all.

        Which of a GPU's come out does not depend on its speed, so all ranks take the same.
        """
        taken = []
        while self._queue and (all or self._queue[0][1] is None or len(self._queue) > self.max_lag):
            values, copied, note = self._queue.popleft()
            if copied is not None:
                copied.synchronize()
            taken.append((values, note))
        return taken

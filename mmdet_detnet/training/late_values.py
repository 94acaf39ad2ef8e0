"""Read values from a device without blocking the host."""

from collections import deque
from typing import Any, NamedTuple

import torch


class _Pending(NamedTuple):
    values: torch.Tensor  # on the host, complete after the event
    copied: torch.cuda.Event | None
    note: Any


class LateValues:
    """A queue of small tensors that are copied from a GPU; CPU tensors are available at once.

    Args:
        max_lag: Number of later tensors in the queue before the hook waits for the oldest.
    """

    def __init__(self, max_lag: int) -> None:
        self.max_lag = max_lag
        self._pending: deque[_Pending] = deque()

    def put(self, values: torch.Tensor, note: object = None) -> None:
        """Start copying a tensor to the host.

        Args:
            values: The tensor, on any device.
            note: Returned together with it.
        """
        if not values.is_cuda:
            self._pending.append(_Pending(values.detach().clone(), None, note))
            return
        host = torch.empty_like(values, device='cpu', pin_memory=True)
        host.copy_(values.detach(), non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending.append(_Pending(host, copied, note))

    def take(self, all: bool = False) -> list[tuple[torch.Tensor, Any]]:
        """Remove, oldest first, tensors that are on a CPU or more than ``max_lag`` tensors old.

        Args:
            all: Wait for every tensor.

        Returns:
            Tensors on the host and their notes.
        """
        taken = []
        while self._pending and (all or self._is_due()):
            pending = self._pending.popleft()
            if pending.copied is not None:
                pending.copied.synchronize()
            taken.append((pending.values, pending.note))
        return taken

    def _is_due(self) -> bool:
        return self._pending[0].copied is None or len(self._pending) > self.max_lag

"""Stand-ins for the classes in mmengine's own checkpoints, built without trusting the file.

mmengine pickles its message hub as objects: one HistoryBuffer per scalar, with NumPy arrays and its
statistics as methods, ``getattr(HistoryBuffer, 'mean')``. With the real ``getattr`` on torch's safe
list, a file could reach ``eval``; with the real HistoryBuffer or ndarray, it could set any
attribute. The stand-ins replace these names while one file is read. Each checks its input and keeps
only numbers.
"""

import math
import re
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

NUMBER = re.compile(r'[biuf][1248]')
BYTE_ORDERS = ('<', '>', '=', '|')
STATISTICS = ('min', 'max', 'current', 'mean')


class DtypeStandIn:
    """A numeric type, instead of ``numpy.dtype``.

    Args:
        code: Kind and size in bytes, such as 'f8'.
        options: ``align`` and ``copy``, which have no meaning for numbers.
    """

    __slots__ = ('dtype',)

    def __init__(self, code: str, *options: bool) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise ValueError(f'a NumPy value of type {code!r}; only numbers are allowed')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        """Set the byte order, the only state that numbers have."""
        if state[1] not in BYTE_ORDERS:
            raise ValueError(f'a NumPy type with the byte order {state[1]!r}')
        self.dtype = self.dtype.newbyteorder(state[1])


class ArrayStandIn:
    """An array of numbers, instead of ``numpy.ndarray``; empty until its state is set."""

    __slots__ = ('array',)

    def __init__(self) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        """Copy the numbers after checking that the number of bytes fits the shape."""
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
            raise ValueError('a NumPy array of objects; only numbers are allowed')
        shape = tuple(int(length) for length in shape)
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise ValueError(f'a NumPy array of shape {shape} with {len(data)} bytes')
        order = 'F' if fortran_order else 'C'
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy()


class HistoryBufferStandIn(HistoryBuffer):
    """A history of numbers; once its state is set, it is an ordinary HistoryBuffer.

    Statistics methods in the state are dropped: mmengine would put them into a table that all
    HistoryBuffers of the process share.
    """

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: dict) -> None:
        """Copy the two arrays and the maximum length."""
        log_history, count_history = state['_log_history'], state['_count_history']
        for history in (log_history, count_history):
            if not isinstance(history, ArrayStandIn):
                raise ValueError('a HistoryBuffer whose history is not an array')
        buffer = build_history(log_history.array, count_history.array, state['max_length'])
        self.__dict__.clear()
        self.__dict__.update(vars(buffer))
        self.__class__ = HistoryBuffer


def build_history(
    log_history: np.ndarray, count_history: np.ndarray, max_length: int
) -> HistoryBuffer:
    """Build a HistoryBuffer from its state in a file.

    Args:
        log_history: Logged values, one-dimensional.
        count_history: Count of each value, of the same length.
        max_length: Maximum number of values kept.

    Returns:
        The buffer.

    Raises:
        ValueError: If these do not form a history.
    """
    if log_history.ndim != 1 or log_history.shape != count_history.shape:
        raise ValueError(
            f'a HistoryBuffer of shapes {log_history.shape} and {count_history.shape}, '
            'instead of two vectors of equal length'
        )
    if type(max_length) is not int or max_length < 1:
        raise ValueError(f'a HistoryBuffer with the maximum length {max_length!r}')
    return HistoryBuffer(log_history, count_history, max_length)


def reconstruct(subtype: type, shape: tuple, typecode: bytes) -> ArrayStandIn:
    """Create an empty array, instead of NumPy's function; its state follows in the file."""
    if subtype is not ArrayStandIn:
        raise ValueError(f'a NumPy array of the class {subtype!r}')
    return ArrayStandIn()


def scalar(dtype: DtypeStandIn, data: bytes) -> float | int | bool:
    """Read one number, instead of NumPy's function."""
    if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
        raise ValueError('a NumPy scalar that is not a number')
    (value,) = np.frombuffer(data, dtype.dtype).tolist()
    return value


def name_statistic(owner: type, name: str) -> str:
    """Return the name of a HistoryBuffer's statistic, instead of ``getattr``."""
    if owner is not HistoryBufferStandIn or name not in STATISTICS:
        raise ValueError(f'the attribute {name!r}, which is not a statistic of a HistoryBuffer')
    return name


# NumPy 2 renamed numpy.core; a file contains the name used by the NumPy that wrote it.
STAND_INS: list[tuple[Any, str]] = [
    (HistoryBufferStandIn, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (ArrayStandIn, 'numpy.ndarray'),
    (DtypeStandIn, 'numpy.dtype'),
    (reconstruct, 'numpy._core.multiarray._reconstruct'),
    (reconstruct, 'numpy.core.multiarray._reconstruct'),
    (scalar, 'numpy._core.multiarray.scalar'),
    (scalar, 'numpy.core.multiarray.scalar'),
    (name_statistic, 'builtins.getattr'),
]

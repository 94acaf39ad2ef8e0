"""Describe what went wrong with a row."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from .rows import Row

SMALLER = 'take a smaller batch, height or width'


@contextmanager
def noting_failure(row: Row) -> Iterator[None]:
    """Note an error in the row instead of ending the run."""
    try:
        yield
    except Exception as error:
        row.failure = explain(error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def explain(error: Exception) -> str:
    """Describe an error for the user of the benchmark."""
    # str() of a KeyError quotes its message.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = next(iter(message.strip().splitlines()), type(error).__name__).rstrip('.')
    out_of_memory = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    if out_of_memory or "can't allocate memory" in message:
        return f'out of memory: {SMALLER}.'
    if isinstance(error, BrokenProcessPool):
        return f'the process that measures memory was killed, possibly out of memory: {SMALLER}.'
    if isinstance(error, FileNotFoundError):
        return f'missing file: {text}.'
    if isinstance(error, KeyError) and 'registry' in text:
        return f'unknown module: {text}.'
    return f'{type(error).__name__}: {text}.'

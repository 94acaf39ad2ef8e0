"""Checks of constructor arguments.

``owner`` is the object that is constructed, or its name; the message starts with it.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeGuard


def reject(owner: object, name: str, value: object, allowed: str) -> NoReturn:
    """Raise the ValueError that says "owner: name must be allowed, got value"."""
    owner_name = owner if isinstance(owner, str) else type(owner).__name__
    raise ValueError(f'{owner_name}: {name} must be {allowed}, got {value!r}.')


def check_choice(owner: object, name: str, value: object, allowed: Iterable) -> None:
    """Raise ValueError unless the value is one of the allowed ones."""
    choices = list(allowed)
    # True equals 1, but is not meant as a number.
    is_flag = isinstance(value, bool) and not any(isinstance(each, bool) for each in choices)
    if value not in choices or is_flag:
        reject(owner, name, value, f'one of {choices}')


def check_positive_integer(owner: object, name: str, value: object) -> None:
    """Raise ValueError unless the value is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        reject(owner, name, value, 'a positive integer')


def check_flags(owner: object, **flags: object) -> None:
    """Raise ValueError unless each value is a bool; the string 'False' would count as true."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            reject(owner, name, value, 'True or False')


def check_indices(owner: object, name: str, values: object, allowed: Sequence[int]) -> None:
    """Raise ValueError unless all values are allowed and in increasing order."""
    if not isinstance(values, Sequence) or list(values) != sorted(set(values) & set(allowed)):
        reject(owner, name, values, f'increasing and among {list(allowed)}')


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max  # an integer may be too large for a float

"""Checks of constructor arguments.

``owner`` is the object that is constructed, or its name; the message starts with it.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeGuard


def reject(owner: object, name: str, value: object, allowed: str) -> NoReturn:
    """Reject an argument.

    Args:
        owner: Object that has the argument, or its name.
        name: Name of the argument.
        value: Value given.
        allowed: What is allowed, to follow "must be".

    Raises:
        ValueError: Always.
    """
    owner_name = owner if isinstance(owner, str) else type(owner).__name__
    raise ValueError(f'{owner_name}: {name} must be {allowed}, got {value!r}.')


def check_choice(owner: object, name: str, value: object, allowed: Iterable) -> None:
    """Raise ValueError unless the value is one of the allowed ones."""
    choices = list(allowed)
    # True equals 1, but is not meant as a number.
    is_flag = isinstance(value, bool) and not any(isinstance(each, bool) for each in choices)
    if value not in choices or is_flag:
        reject(owner, name, value, f'one of {choices}')


def check_inherited(owner: object, given: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Accept arguments that a base config passes on only if they have their default values.

    Args:
        owner: Object that is constructed.
        given: Arguments of another class, which have no effect here.
        defaults: Their default values; sequences as tuples.

    Raises:
        ValueError: If a value is not the default.
    """
    for name, value in given.items():
        if (tuple(value) if isinstance(value, list) else value) != defaults[name]:
            hint = '_delete_=True drops what a base config passes on'
            reject(owner, name, value, f'left out, or {defaults[name]} and ignored ({hint})')


def check_positive_integer(owner: object, name: str, value: object) -> None:
    """Raise ValueError unless the value is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        reject(owner, name, value, 'a positive integer')


def check_flags(owner: object, **flags: object) -> None:
    """Raise ValueError unless each value is a bool; the string 'False' would count as true."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            reject(owner, name, value, 'True or False')


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max  # an integer may be too large for a float


def check_indices(owner: object, name: str, values: object, allowed: Sequence[int]) -> None:
    """Raise ValueError unless all values are allowed and in increasing order."""
    if not isinstance(values, Sequence) or list(values) != sorted(set(values) & set(allowed)):
        reject(owner, name, values, f'increasing and among {list(allowed)}')


def check_outputs(owner: object, out_indices: Sequence[int], num_stages: int) -> None:
    """Raise ValueError unless at least one of a backbone's stages is returned."""
    check_indices(owner, 'out_indices', out_indices, range(num_stages))
    if not out_indices:
        reject(owner, 'out_indices', out_indices, 'at least one stage')


def check_stage_flags(
    owner: object,
    stage_with_dcn: Sequence[bool],
    plugins: list[dict] | None,
    num_stages: int,
    dcn: dict | None = None,
) -> None:
    """Raise ValueError unless each optional layer has one flag per stage and has an effect.

    Args:
        owner: The backbone.
        stage_with_dcn: Which stages have deformable convolutions.
        plugins: Plugin layers, optionally with flags in ``stages``.
        num_stages: Number of stages that can have these layers.
        dcn: Config of the deformable convolutions.

    Raises:
        ValueError: If there are not as many flags as stages, or one has no effect.
    """
    is_list = isinstance(stage_with_dcn, (list, tuple))
    if not is_list or [isinstance(flag, bool) for flag in stage_with_dcn] != [True] * num_stages:
        reject(owner, 'stage_with_dcn', stage_with_dcn, f'{num_stages} flags')
    if dcn and not any(stage_with_dcn):
        reject(owner, 'stage_with_dcn', stage_with_dcn, 'True for at least one stage with dcn')
    if any(stage_with_dcn) and not dcn:
        reject(owner, 'dcn', dcn, 'given with stage_with_dcn')
    for plugin in plugins or []:
        if len(plugin.get('stages', range(num_stages))) != num_stages:
            reject(owner, "plugins' stages", plugin['stages'], f'{num_stages} flags')

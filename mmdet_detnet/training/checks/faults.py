"""Wording and raising of faults."""

from collections.abc import Sequence


def fault(place: str, value: object, allowed: str) -> str:
    """Describe a fault.

    Args:
        place: Option or module that is wrong, as a dotted path.
        value: Its value.
        allowed: What is allowed.

    Returns:
        One sentence.
    """
    return f'{place} must be {allowed}, got {value!r}.'


def raise_faults(faults: Sequence[str]) -> None:
    """Raise all faults at once, one per line.

    Args:
        faults: Sentences.

    Raises:
        ValueError: If there are any.
    """
    if faults:
        raise ValueError('\n'.join(faults))

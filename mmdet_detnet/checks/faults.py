"""How faults are worded and raised."""

from collections.abc import Sequence


def fault(place: str, value: object, allowed: str) -> str:
    """Word a fault.

    Args:
        place: Option or module that is wrong, as a dotted path.
        value: What it is.
        allowed: What it has to be.

    Returns:
        One sentence.
    """
    return f'{place} must be {allowed}, got {value!r}.'


def raise_faults(faults: Sequence[str]) -> None:
    """Raise all faults at once, one a line.

    Args:
        faults: Sentences.

    Raises:
        ValueError: If there is one.
    """
    if faults:
        raise ValueError('\n'.join(faults))

"""Wording of faults."""


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

"""All checks that need only the config."""

from collections.abc import Callable, Mapping

from .cascade import find_cascade_faults
from .data import find_data_faults
from .necks import find_neck_faults
from .options import find_idle_options
from .pretraining import find_pretrained_faults
from .values import find_value_faults

CHECKS: tuple[Callable[[Mapping], list[str]], ...] = (
    find_value_faults,
    find_cascade_faults,
    find_neck_faults,
    find_idle_options,
    find_data_faults,
    find_pretrained_faults,
)


def find_config_faults(config: Mapping) -> list[str]:
    """Check a config before anything is built from it."""
    return [fault for check in CHECKS for fault in check(config)]

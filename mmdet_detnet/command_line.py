"""What the command ``mmdet-detnet`` and the scripts share: their parser, and the types of options.

It imports torch only for an option that needs it: a wrong one or ``--help`` must not wait.
"""

import argparse
from collections.abc import Callable
from typing import Any

from mmengine.config import DictAction


def key_and_value(text: str) -> tuple[str, Any]:
    """Read ``key=value`` as mmengine does, for the ``type`` of an option; paths keep spaces."""
    wanted = 'key=value, in quotes where a value has spaces'
    wrong = argparse.ArgumentTypeError(f'must be {wanted}, got {text}')
    if '=' not in text:
        raise wrong
    key, value = text.split('=', 1)
    value = value.strip('\'" ')
    is_list = ',' in value or value.startswith(('[', '('))
    parse = DictAction._parse_iterable if is_list else DictAction._parse_int_float_bool
    try:
        return key, parse(value)
    except (AssertionError, RecursionError) as error:  # brackets do not match
        raise wrong from error


def usable_device(text: str) -> str:
    """Check the name of a device, for the ``type`` of an option."""
    import mmengine.device  # noqa: F401  (lets torch know other accelerators)
    import torch

    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f'must be like cpu or cuda:0, got {text}') from error
    number = torch.cuda.device_count()
    if device.type == 'cuda' and (device.index or 0) >= number:
        raise argparse.ArgumentTypeError(f'torch sees {number} CUDA devices here, got {text}')
    return text


# Of an option with pairs for `dict`, such as a=1 b.c=2.
PAIRS: dict[str, Any] = dict(nargs='+', action='extend', type=key_and_value, default=[])
SHARED_ARGUMENTS: dict[str, dict[str, Any]] = {
    'config': dict(help='config file of the detector'),
    'checkpoint': dict(help='checkpoint file of the detector'),
    '--cfg-options': PAIRS | dict(help='key=value ...'),
    '--device': dict(type=usable_device, help='such as cpu or cuda:0; default: a GPU if any'),
    '--allow-mismatch': dict(action='store_true', help='accept a checkpoint of another detector'),
}


def make_parser(description: str, *shared: str) -> argparse.ArgumentParser:
    """Make the parser of a script, to which the script adds its own arguments.

    The description is shown with its line breaks. ``shared`` are of :data:`SHARED_ARGUMENTS`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in shared:
        parser.add_argument(name, **SHARED_ARGUMENTS[name])
    return parser


def at_least(minimum: int) -> Callable[[str], int]:
    """Make the ``type`` of an option that takes integers from ``minimum`` on."""

    def integer(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f'must be at least {minimum}, got {text}')
        return value

    return integer

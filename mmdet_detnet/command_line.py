"""Command lines of the scripts in ``tools/``."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.config import DictAction

from .training.template_variables import restore_class_names


class OptionsAction(DictAction):
    """mmengine's action for ``--cfg-options``, with spaces in class names."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Read the options."""
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, restore_class_names(getattr(namespace, self.dest), values))


SHARED_ARGUMENTS: dict[str, dict[str, Any]] = {
    'config': dict(help='config file of the detector'),
    'checkpoint': dict(help='checkpoint file of the detector'),
    '--cfg-options': dict(nargs='+', action=OptionsAction, help='key=value ...'),
    '--device': dict(help='such as cpu or cuda:0; default: a GPU if there is one'),
    '--allow-mismatch': dict(action='store_true', help='accept a checkpoint of another detector'),
}


def make_parser(description: str, *shared: str) -> argparse.ArgumentParser:
    """Make the parser of a script.

    Args:
        description: Docstring of the script, shown with its line breaks.
        shared: Arguments that several scripts have, of :data:`SHARED_ARGUMENTS`, in order.

    Returns:
        The parser; the script adds its own arguments.
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

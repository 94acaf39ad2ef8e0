"""Entry of `make setup`: settles which Python runs the set-up, then starts it.

Python 3.6 can still read this file: an old Python must get a sentence, not a SyntaxError.
"""

import os
import shutil
import sys

from environment_setup import PYTHON, VENV

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 12)


def python_problem(version: tuple, in_venv: bool) -> str:
    """Say why a Python cannot be used.

    Args:
        version: Its version, such as ``(3, 11)``; further numbers do not count.
        in_venv: Whether it is the Python of .venv.

    Returns:
        One sentence, empty for a supported Python.
    """
    if OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON:
        return ''
    found = '{}.{}'.format(*version[:2])
    if in_venv:
        return f'.venv holds Python {found}, but 3.10 to 3.12 is needed: run `make clean` first.'
    names = ['python3.11', 'python3.12', 'python3.10']
    present = [name for name in names if shutil.which(name)]
    advice = (
        f'run `make setup PYTHON={present[0]}`'
        if present
        else 'install one and run `make setup PYTHON=python3.11`'
    )
    return f'Python 3.10 to 3.12 is needed, but this is Python {found}: {advice}.'


def continue_in_venv() -> None:
    """Replace this process by the Python of .venv when there is one.

    So ``PYTHON=`` is needed only once, and what is asked about Python is asked of the one
    that everything is installed for.
    """
    if not os.access(str(PYTHON), os.X_OK):
        return
    try:
        os.execv(str(PYTHON), [str(PYTHON), '-m', 'environment_setup'])
    except OSError:
        return  # not a program for this machine; the set-up makes .venv anew


def main() -> int:
    """Set the environment up.

    Returns:
        The exit status.
    """
    in_venv = os.path.realpath(sys.prefix) == os.path.realpath(str(VENV))
    if not in_venv:
        continue_in_venv()
    problem = python_problem(sys.version_info, in_venv)
    if problem:
        print('make setup: ' + problem, file=sys.stderr)
        return 1
    from environment_setup.environment import main as set_up

    return set_up()


if __name__ == '__main__':
    sys.exit(main())

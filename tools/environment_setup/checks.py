"""What the set-up asks of the machine, each answered by one sentence when it is not there."""

import errno
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

GIB = 2**30
# Of torch's CPU build; its CUDA build takes several GiB more, and pip chooses which one it is.
DISK_FOR_PACKAGES = 4 * GIB
DISK_FOR_COMPILING = 1 * GIB
AGAIN = 'run `make setup` again, it continues where it stopped'


class SetupError(Exception):
    """The set-up cannot go on; the message says why and what to do, in one sentence."""


class DiskFullError(SetupError):
    """A disk filled up during a step."""


def check_venv_module() -> None:
    """Check that virtual environments can be made.

    Raises:
        SetupError: If a part of Python that Debian and Ubuntu package apart is missing.
    """
    for module in ('venv', 'ensurepip'):
        if importlib.util.find_spec(module) is None:
            version = '{}.{}'.format(*sys.version_info)
            raise SetupError(
                f'this Python has no {module} module: install it (Debian and Ubuntu: '
                f'`apt install python{version}-venv`), then {AGAIN}.'
            )


def check_compiler() -> None:
    """Check that C++ extensions of this Python can be compiled.

    Raises:
        SetupError: If the compilers that Python would call or its headers are missing.
    """
    for variable, purpose in (('CC', 'C'), ('CXX', 'C++')):
        command = os.environ.get(variable) or sysconfig.get_config_var(variable)
        program = (command or 'c++').split()[0]
        if shutil.which(program) is None:
            raise SetupError(
                f'mmcv has to be compiled, but there is no {purpose} compiler `{program}`: install '
                f'gcc and g++ (Debian and Ubuntu: `apt install build-essential`), then {AGAIN}.'
            )
    header = Path(sysconfig.get_paths()['include']) / 'Python.h'
    if not header.exists():
        version = '{}.{}'.format(*sys.version_info)
        raise SetupError(
            f'mmcv has to be compiled, but {header} is missing: install the headers of Python '
            f'(Debian and Ubuntu: `apt install python{version}-dev`), then {AGAIN}.'
        )


def check_disk(folder: Path, needed: int, purpose: str) -> None:
    """Check that there is enough free space for a step.

    Args:
        folder: Where the step writes; need not exist yet.
        needed: Number of bytes.
        purpose: What needs them, as it stands in the sentence.

    Raises:
        SetupError: If there is less.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SetupError(
            f'only {free / GIB:.1f} GiB are free in {existing}, but {purpose} needs about '
            f'{needed / GIB:.0f} GiB: free some space, then {AGAIN}.'
        )


def disk_full(what: str) -> DiskFullError:
    """Say that the disk filled up.

    Args:
        what: What was being done.

    Returns:
        The error to raise.
    """
    return DiskFullError(
        f'the disk filled up ({what}): free some space, in the temporary folder too, or set TMPDIR '
        f'to a larger one, then {AGAIN}.'
    )


def operating_system_sentence(error: OSError) -> str:
    """Say what the operating system refused.

    Args:
        error: The error.

    Returns:
        One sentence.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return str(disk_full(str(error.filename or 'writing files')))
    return f'{error.strerror or error} ({error.filename}).' if error.filename else f'{error}.'

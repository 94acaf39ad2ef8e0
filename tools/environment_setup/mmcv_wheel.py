"""mmcv with its operators in .venv, from the user's cache; a wheel is tried before it is used."""

import os
from pathlib import Path

from environment_setup import STATE
from environment_setup.checks import DiskFullError, SetupError
from environment_setup.commands import last_words, pip, run_python, say
from environment_setup.mmcv_build import build_wheel
from environment_setup.mmcv_target import Target, cache_key, cache_root, find_target

# Which wheel is installed in .venv.
INSTALLED_KEY = STATE / 'mmcv-wheel-key'

TRY_OPERATORS = """
import sys, torch
from mmcv.ops import nms, roi_align
for device in sys.argv[1:]:
    boxes = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 4.]], device=device)
    _, kept = nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)
    assert kept.tolist() == [0], 'nms of two equal boxes keeps %s' % kept.tolist()
"""


def set_up_mmcv() -> None:
    """Make sure that .venv holds mmcv with operators that run on its torch.

    Raises:
        SetupError: If it cannot be compiled or installed, or its operators do not run.
    """
    target = find_target(os.environ)
    key = cache_key(target, os.environ)
    installed = INSTALLED_KEY.exists() and INSTALLED_KEY.read_text() == key
    if installed and not operators_problem(target):
        return
    INSTALLED_KEY.unlink(missing_ok=True)
    folder = cache_root(os.environ) / key
    if not install_cached(folder, target):
        build_wheel(folder, target)
        if problem := install_and_try(cached_wheel(folder), target):
            cached_wheel(folder).unlink()
            raise SetupError(f'mmcv was compiled, but its operators do not work: {problem}')
    INSTALLED_KEY.write_text(key)


def cached_wheel(folder: Path) -> Path | None:
    """Find the wheel of one build.

    Args:
        folder: The build's folder in the cache.

    Returns:
        The wheel; None if there is none.
    """
    return next(iter(sorted(folder.glob('mmcv-*.whl'))), None)


def install_cached(folder: Path, target: Target) -> bool:
    """Install the wheel of the cache if there is one and it works.

    Args:
        folder: The build's folder in the cache; a broken wheel is deleted from it.
        target: What the wheel was built for.

    Returns:
        Whether mmcv is installed now.

    Raises:
        DiskFullError: If there is no room to install it.
    """
    wheel = cached_wheel(folder)
    if wheel is None:
        return False
    say(f'Using the mmcv compiled earlier: {wheel}')
    if problem := install_and_try(wheel, target):
        say(f'That wheel is broken and is thrown away: {problem}')
        wheel.unlink()
    return not problem


def install_and_try(wheel: Path, target: Target) -> str:
    """Install a wheel and run an operator.

    Args:
        wheel: The wheel.
        target: What it was built for.

    Returns:
        Why that failed; empty if it did not.

    Raises:
        DiskFullError: If there is no room, which is no fault of the wheel.
    """
    options = ['--no-index', '--no-deps', '--force-reinstall']
    try:
        pip(['install', *options, str(wheel)], 'installing mmcv', 'mmcv')
    except DiskFullError:
        raise
    except SetupError as error:
        return str(error).splitlines()[-1].strip()
    return operators_problem(target)


def operators_problem(target: Target) -> str:
    """Run an operator of the installed mmcv.

    Args:
        target: What it was built for.

    Returns:
        Why it cannot be run; empty if it can.
    """
    devices = ['cpu', 'cuda'] if target.capabilities else ['cpu']
    return last_words(run_python(TRY_OPERATORS, *devices))

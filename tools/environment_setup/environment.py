"""The set-up, step by step: .venv, the requirements, mmcv, the package itself, a last check."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time

from environment_setup import PYTHON, ROOT, STATE, VENV
from environment_setup.checks import (
    DISK_FOR_PACKAGES,
    SetupError,
    check_compiler,
    check_disk,
    check_venv_module,
    operating_system_sentence,
)
from environment_setup.commands import (
    PIP,
    child_environment,
    failure,
    last_words,
    pip,
    run_python,
    say,
)
from environment_setup.mmcv_target import MMCV_VERSION, cache_root
from environment_setup.mmcv_wheel import set_up_mmcv

REQUIREMENTS = ROOT / 'requirements.txt'
TEST_REQUIREMENTS = ROOT / 'requirements-test.txt'
# Installed without its dependencies: they would bring a setuptools of 2022 with them.
OPENMIM = 'openmim==0.3.9'
MMCV = f'mmcv=={MMCV_VERSION}'
# Written last: what a complete set-up was made from.
STAMP = STATE / 'complete'

TRY_EVERYTHING = """
import mim, mmdet, mmengine, torch
from mmcv.ops import nms, roi_align
import mmdet_detnet
"""


def main() -> int:
    """Set the environment up.

    Returns:
        The exit status.
    """
    # A terminated set-up ends like an interrupted one, together with the compilers it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up()
    except SetupError as error:
        return _give_up(str(error), 1)
    except OSError as error:
        return _give_up(operating_system_sentence(error), 1)
    except KeyboardInterrupt:
        return _give_up('interrupted; run it again, it continues where it stopped.', 130)
    return 0


def _give_up(sentence: str, status: int) -> int:
    print(f'make setup: {sentence}', file=sys.stderr)
    return status


def set_up() -> None:
    """Do what is missing, nothing if nothing is.

    Raises:
        SetupError: If a step cannot be done.
    """
    if is_complete():
        say('The environment in .venv is complete.')
        return
    started = time.monotonic()
    say(f'Setting up .venv with Python {sys.version.split()[0]}; what is there already is kept.')
    check_machine()
    make_venv()
    STAMP.unlink(missing_ok=True)
    install_requirements()
    repair_opencv()
    set_up_mmcv()
    install_package()
    check_result()
    say(f'The environment in .venv is complete ({(time.monotonic() - started) / 60:.1f} min).')


def check_machine() -> None:
    """Check, before anything is downloaded, what later steps need.

    Raises:
        SetupError: If something is missing.
    """
    check_venv_module()
    compiled_for_this_python = f'mmcv{MMCV_VERSION}_{sysconfig.get_config_var("SOABI")}_*/*.whl'
    if not any(cache_root(os.environ).glob(compiled_for_this_python)):
        check_compiler()
    if not any(VENV.glob('lib/*/site-packages/torch')):
        check_disk(VENV, DISK_FOR_PACKAGES, 'installing the packages')


def make_venv() -> None:
    """Make .venv, unless there is one whose pip works or can be added.

    Raises:
        SetupError: If Python cannot make it.
    """
    show_pip = [*PIP, '--version']
    add_pip = [str(PYTHON), '-m', 'ensurepip', '--default-pip']
    if _succeeds(show_pip) or (_succeeds(add_pip) and _succeeds(show_pip)):
        return
    say('Making the virtual environment .venv')
    make = [sys.executable, '-m', 'venv', '--clear', '--without-pip', str(VENV)]
    for command in (make, add_pip):
        # Without a log file: its folder is made by these commands.
        result = subprocess.run(command, capture_output=True, text=True, env=child_environment())
        if result.returncode != 0:
            raise failure('making .venv', result.stdout + result.stderr)


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, env=child_environment()).returncode == 0
    except OSError:
        return False  # no such program, or none for this machine


def install_requirements() -> None:
    """Install everything but mmcv, in the pinned versions; pip skips what is there.

    Raises:
        SetupError: If pip fails.
    """
    pinned = ['install', '--constraint', str(REQUIREMENTS)]
    # The pip that Python brings may be too old for `raw`, which prints progress into a file.
    pip([*pinned, 'pip', 'setuptools', 'wheel', 'ninja'], 'installing pip and build tools', 'tools')
    pinned += ['--progress-bar', 'raw']
    pip([*pinned, 'torch'], 'installing torch', 'torch')
    files = ['--requirement', str(REQUIREMENTS), '--requirement', str(TEST_REQUIREMENTS)]
    pip([*pinned, *files], 'installing the other requirements', 'requirements')
    pip([*pinned, '--no-deps', OPENMIM], 'installing openmim', 'openmim')


def repair_opencv() -> None:
    """Take OpenCV without windows where the libraries for windows are missing, on servers.

    Raises:
        SetupError: If pip fails, or a base package cannot be imported for another reason.
    """
    problem = last_words(run_python('import cv2'))
    if 'cannot open shared object file' in problem:
        say(f'opencv-python cannot be loaded ({problem}): taking opencv-python-headless instead.')
        version = re.search(r'^opencv-python==(\S+)', REQUIREMENTS.read_text(), re.MULTILINE)[1]
        both = ['opencv-python', 'opencv-python-headless']
        pip(['uninstall', '--yes', *both], 'removing opencv-python', 'opencv-uninstall')
        headless = f'opencv-python-headless=={version}'
        pip(['install', '--no-deps', headless], f'installing {headless}', 'opencv-headless')
    if problem := last_words(run_python('import torch, numpy, cv2, mmengine')):
        raise SetupError(f'an installed package cannot be imported: {problem}')


def install_package() -> None:
    """Install mmdet_detnet itself as a link to this folder.

    Raises:
        SetupError: If pip fails.
    """
    arguments = ['install', '--no-deps', '--no-build-isolation', '--editable', str(ROOT)]
    pip(arguments, 'installing mmdet_detnet', 'package')


def check_result() -> None:
    """Check what came out of it all, and note that it is complete.

    Raises:
        SetupError: If a version is not the pinned one or a package cannot be imported.
    """
    found = compare_with_requirements()
    if found['problems']:
        raise SetupError(f'.venv does not hold what is required: {"; ".join(found["problems"])}.')
    if problem := last_words(run_python(TRY_EVERYTHING)):
        raise SetupError(f'an installed package cannot be imported: {problem}')
    STAMP.write_text(f'{fingerprint()} {found["torch"]}')


def is_complete() -> bool:
    """Find out quickly whether there is anything to do.

    Returns:
        Whether .venv was completed from the present requirements and still meets them.
    """
    if not (PYTHON.exists() and STAMP.exists()):
        return False
    made_from, _, torch = STAMP.read_text().partition(' ')
    if made_from != fingerprint():
        return False
    found = compare_with_requirements()
    # To the last letter: mmcv was compiled for this very build of torch.
    return not found['problems'] and found['torch'] == torch


def fingerprint() -> str:
    """Summarise what an environment is made from.

    Returns:
        A hash of the requirements, the package's description and the place of this folder.
    """
    files = (REQUIREMENTS, TEST_REQUIREMENTS, ROOT / 'pyproject.toml')
    parts = [*(file.read_text() for file in files), MMCV, OPENMIM, str(ROOT)]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()


def compare_with_requirements() -> dict:
    """Compare the versions in .venv with the requirements, importing none of them.

    Returns:
        What :mod:`environment_setup.installed` prints.
    """
    files = [str(REQUIREMENTS), str(TEST_REQUIREMENTS)]
    command = [str(PYTHON), '-I', str(ROOT / 'tools' / 'environment_setup' / 'installed.py')]
    command += ['--files', *files, '--also', MMCV, OPENMIM]
    command += ['--package', str(ROOT / 'mmdet_detnet')]
    result = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if result.returncode != 0:
        return {'problems': [last_words(result)]}
    return json.loads(result.stdout)

"""Compiling mmcv with its operators into a wheel in the user's cache."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from environment_setup.checks import (
    AGAIN,
    DISK_FOR_COMPILING,
    GIB,
    SetupError,
    check_compiler,
    check_disk,
)
from environment_setup.commands import PIP, child_environment, pip, run_logged, say
from environment_setup.mmcv_target import MMCV_VERSION, Target, check_cuda_compiler

MEMORY_PER_JOB = 2 * GIB


@contextmanager
def only_one_build(folder: Path) -> Iterator[int]:
    """Keep other set-ups from compiling into the same folder.

    Args:
        folder: The build's folder in the cache.

    Yields:
        The file descriptor of the lock: a build that inherits it keeps the lock even when the
        set-up itself is killed.

    Raises:
        SetupError: If another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f'another process compiles mmcv in {folder}: wait until it is done, then {AGAIN}.'
            ) from None
        yield lock.fileno()


def build_wheel(folder: Path, target: Target) -> None:
    """Compile mmcv and put the wheel into the cache.

    It is compiled in a sub-folder and moved when complete, so that the cache never holds half a
    wheel. What an interrupted or failed build has compiled is used by the next one; if that
    fails too, the one after it starts from nothing.

    Args:
        folder: The build's folder in the cache.
        target: What to build for.

    Raises:
        SetupError: If something needed is missing or the compilation fails.
    """
    check_compiler()
    check_cuda_compiler(target)
    check_disk(folder, DISK_FOR_COMPILING, 'compiling mmcv')
    build = folder / 'build'
    with only_one_build(folder) as lock:
        continued = (build / 'source').exists()
        try:
            if not continued:
                fetch_source(build)
            announce(target, continued, folder / 'build.log')
            compile_source(build, folder / 'build.log', target, lock)
        except SetupError:
            if continued:
                shutil.rmtree(build)
            raise
        wheel = next((build / 'wheel').glob('mmcv-*.whl'))
        os.replace(wheel, folder / wheel.name)
        shutil.rmtree(build)


def announce(target: Target, continued: bool, log: Path) -> None:
    """Say what is compiled and how long that takes.

    Args:
        target: What is built for.
        continued: Whether a part is compiled already.
        log: Where the compilers' output goes.
    """
    if target.cuda:
        duration = f'with CUDA {target.cuda}, which can take an hour'
    else:
        duration = 'for the CPU, which takes about 6 to 12 minutes on 2 cores'
    say(f'Compiling mmcv {MMCV_VERSION} {duration}, once. The output goes to {log}')
    if continued:
        say('What an earlier run compiled is used.')


def fetch_source(build: Path) -> None:
    """Download mmcv's source distribution and unpack it to the sub-folder `source`.

    Args:
        build: Folder of temporary files, emptied first.

    Raises:
        SetupError: If the download fails.
    """
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    options = ['--no-build-isolation', '--no-deps', '--no-binary', 'mmcv', '--dest', str(build)]
    arguments = ['download', *options, f'mmcv=={MMCV_VERSION}']
    pip(arguments, f'downloading the source of mmcv {MMCV_VERSION}', 'mmcv-source')
    shutil.unpack_archive(next(build.glob('mmcv-*.tar.gz')), build / 'unpacked')
    # Renamed when complete: an interruption must not leave half a source.
    (build / 'unpacked' / f'mmcv-{MMCV_VERSION}').rename(build / 'source')


def compile_source(build: Path, log: Path, target: Target, lock: int) -> None:
    """Make the wheel, in the sub-folder `wheel`.

    Args:
        build: Folder of temporary files.
        log: Where the compilers' output goes.
        target: What to build for.
        lock: File descriptor of :func:`only_one_build`.

    Raises:
        SetupError: If the compilation fails.
    """
    # Without its cache: pip takes a wheel compiled for any other torch for this one.
    options = ['--no-build-isolation', '--no-deps', '--no-cache-dir', '--verbose']
    command = [*PIP, 'wheel', *options, '--wheel-dir', str(build / 'wheel'), str(build / 'source')]
    run_logged(command, 'compiling mmcv', log, build_environment(target), kept_open=(lock,))


def build_environment(target: Target) -> dict[str, str]:
    """Make the environment variables of the compilation.

    Args:
        target: What to build for.

    Returns:
        The variables; ``MAX_JOBS`` stays as the user set it.
    """
    environment = {**child_environment(), 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': '1'}
    if not target.cuda:
        # mmcv compiles CUDA code whenever torch sees a GPU.
        environment.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    environment.setdefault('MAX_JOBS', str(job_count()))
    # Python asks for debug information, which takes half of the time and nine tenths of the size.
    # The user's flags come later and win.
    environment['CFLAGS'] = f'-g0 {environment.get("CFLAGS", "")}'.strip()
    return environment


def job_count() -> int:
    """Count the compilers to run at once: one a core, as far as memory allows.

    Returns:
        The number, at least 1.
    """
    kibibytes = re.search(r'MemAvailable:\s+(\d+)', Path('/proc/meminfo').read_text())[1]
    available = int(kibibytes) * 1024
    container = Path('/sys/fs/cgroup/memory.max')
    if container.exists() and (limit := container.read_text().strip()).isdigit():
        available = min(available, int(limit))
    return max(1, min(len(os.sched_getaffinity(0)), available // MEMORY_PER_JOB))

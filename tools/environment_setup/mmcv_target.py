"""What mmcv's operators are compiled for, and the name of that build in the user's cache."""

import hashlib
import json
import platform
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environment_setup.checks import AGAIN, SetupError
from environment_setup.commands import last_words, run_python

MMCV_VERSION = '2.1.0'
# What compilers read from the environment; another value makes another wheel.
COMPILER_VARIABLES = (
    'CC',
    'CXX',
    'CFLAGS',
    'CPPFLAGS',
    'CXXFLAGS',
    'LDFLAGS',
    'MMCV_CUDA_ARGS',
    'NVCC_APPEND_FLAGS',
    'TORCH_CUDA_ARCH_LIST',
)

ASK_TORCH = """
import json, torch
from torch.utils.cpp_extension import CUDA_HOME
devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
capabilities = {'%d.%d' % torch.cuda.get_device_capability(device) for device in devices}
print(json.dumps(dict(torch=torch.__version__, cuda=torch.version.cuda, cuda_home=CUDA_HOME,
                      capabilities=sorted(capabilities))))
"""


@dataclass(frozen=True)
class Target:
    """What the operators are compiled for.

    Attributes:
        torch: Full version of torch, such as ``'2.13.0+cpu'``.
        cuda: Version of CUDA; empty for a CPU build.
        capabilities: Compute capabilities of the GPUs, such as ``('9.0',)``.
        cuda_home: Folder of the CUDA toolkit; empty when there is none.
        python: Implementation, version and platform, such as ``'cpython-311-x86_64-linux-gnu'``.
        machine: Architecture of the processor.
        mmcv: Version of mmcv.
    """

    torch: str
    cuda: str = ''
    capabilities: tuple[str, ...] = ()
    cuda_home: str = ''
    python: str = sysconfig.get_config_var('SOABI')
    machine: str = platform.machine()
    mmcv: str = MMCV_VERSION


def find_target(environment: Mapping[str, str]) -> Target:
    """Ask the installed torch what to compile for.

    Args:
        environment: Where ``MMCV_CPU=1`` asks for a CPU build in spite of a GPU, and
            ``FORCE_CUDA=1`` for a CUDA build without one.

    Returns:
        The target.

    Raises:
        SetupError: If torch cannot be imported, or CUDA is asked of a CPU build of torch.
    """
    result = run_python(ASK_TORCH)
    if result.returncode != 0:
        raise SetupError(f'torch cannot be imported: {last_words(result)}')
    return choose_target(json.loads(result.stdout.splitlines()[-1]), environment)


def choose_target(facts: Mapping, environment: Mapping[str, str]) -> Target:
    """Choose between a CPU and a CUDA build.

    Args:
        facts: What :data:`ASK_TORCH` prints.
        environment: As in :func:`find_target`.

    Returns:
        The target.

    Raises:
        SetupError: If CUDA is asked of a CPU build of torch.
    """
    forced = environment.get('FORCE_CUDA') == '1'
    if environment.get('MMCV_CPU') == '1' or not (facts['capabilities'] or forced):
        return Target(facts['torch'])
    if not facts['cuda']:
        raise SetupError(
            f'FORCE_CUDA=1 asks for CUDA operators, but torch {facts["torch"]} has no CUDA: unset '
            f'FORCE_CUDA, then {AGAIN}.'
        )
    capabilities = tuple(facts['capabilities'])
    return Target(facts['torch'], facts['cuda'], capabilities, facts['cuda_home'] or '')


def check_cuda_compiler(target: Target) -> None:
    """Check that a CUDA build has the CUDA compiler.

    Args:
        target: What is to be built.

    Raises:
        SetupError: If nvcc is missing.
    """
    if target.cuda and not (Path(target.cuda_home) / 'bin' / 'nvcc').exists():
        raise SetupError(
            f'torch sees a GPU, but the compiler nvcc is missing: install the CUDA {target.cuda} '
            'toolkit and set CUDA_HOME, or build for the CPU only with `MMCV_CPU=1 make setup`.'
        )


def cache_key(target: Target, environment: Mapping[str, str]) -> str:
    """Name a build: two builds share the name only if they give the same wheel.

    Args:
        target: What it is for.
        environment: The environment variables, of which those for compilers count.

    Returns:
        A folder name.
    """
    device = f'cuda{target.cuda}' if target.cuda else 'cpu'
    parts = [f'mmcv{target.mmcv}', target.python, target.machine, f'torch{target.torch}', device]
    parts += [f'sm{capability}' for capability in target.capabilities]
    settings = [f'{name}={environment[name]}' for name in COMPILER_VARIABLES if name in environment]
    if settings:
        parts.append('flags' + hashlib.sha256('\0'.join(settings).encode()).hexdigest()[:12])
    return '_'.join(parts)


def cache_root(environment: Mapping[str, str]) -> Path:
    """Locate the user's cache of compiled wheels.

    Args:
        environment: The environment variables.

    Returns:
        The folder; need not exist.
    """
    base = environment.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base).absolute() / 'mmdet_detnet' / 'wheels'

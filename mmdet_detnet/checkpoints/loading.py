"""Load checkpoints as data, without executing any code in them.

Importing this module makes mmengine read local files and URLs with :func:`read_checkpoint`, through
``CheckpointLoader.register_scheme``. This is mmengine's extension point, and the only one that all
callers use: ``Runner``, ``init_detector``, inferencers, ``init_cfg``. It applies to the whole
process. Files that torch 2.6 and newer load still load, and so do mmengine's own checkpoints, which
torch alone rejects. mmengine's loaders of other schemes remain, with ``weights_only`` forced.
"""

import contextlib
import functools
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version

from .content import restore
from .files import find_fault
from .stand_ins import STAND_INS

# From this version on, torch accepts stand-ins by name.
STAND_IN_TORCH = '2.6.0'
# Before, torch.load(weights_only=True) has known holes: CVE-2026-24747, CVE-2025-32434.
SAFE_TORCH = '2.10.0'
# How torch names what it rejects, before and since 2.4.
REFUSED = re.compile(r'(?:GLOBAL|Unsupported class) (\S+)')
# The file by which torch knows a TorchScript archive, which is code.
TORCHSCRIPT = 'constants.pkl'
FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
FORCE_NOT = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'

MapLocation: TypeAlias = Callable | torch.device | str | dict[str, str] | None


def force_weights_only() -> None:
    """Make every ``torch.load`` of this process and its children reject code.

    For scripts. It concerns files that mmengine does not load through :func:`read_checkpoint`, such
    as ``s3://``: by default, torch before 2.6 unpickles everything in them.
    """
    os.environ.pop(FORCE_NOT, None)
    os.environ[FORCE] = '1'


@contextlib.contextmanager
def weights_only_forced() -> Iterator[None]:
    """Apply :func:`force_weights_only` temporarily, in a process that is not ours."""
    before = {name: os.environ.get(name) for name in (FORCE, FORCE_NOT)}
    force_weights_only()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@CheckpointLoader.register_scheme('', force=True)
def load_from_local(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Load a local file for mmengine.

    Args:
        filename: Path of the file.
        map_location: As for ``torch.load``.

    Returns:
        Its content.
    """
    return read_checkpoint(os.path.expanduser(filename), map_location)


@CheckpointLoader.register_scheme(('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Load a URL for mmengine, from torch's cache if it is there.

    Args:
        filename: The URL.
        map_location: As for ``torch.load``.

    Returns:
        Its content.
    """
    cached = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(filename).path).name)
    if is_main_process():
        _download(filename, cached)
    barrier()
    # Each machine has its own cache.
    _download(filename, cached)
    return read_checkpoint(cached, map_location)


def _with_weights_only(loader: Callable) -> Callable:
    @functools.wraps(loader)
    def load(*args: Any, **kwargs: Any) -> Any:
        with weights_only_forced():
            return loader(*args, **kwargs)

    return load


# The loaders of all other schemes, such as torchvision:// and s3://, call torch.load themselves.
for _prefix, _loader in tuple(CheckpointLoader._schemes.items()):
    if _loader not in (load_from_local, load_from_http):
        CheckpointLoader.register_scheme(_prefix, _with_weights_only(_loader), force=True)


def read_checkpoint(path: str | Path, map_location: MapLocation = None) -> dict[str, Any]:
    """Read a file written by ``torch.save`` without executing any code in it.

    Accepts tensors, plain values and what mmengine's Runner adds: NumPy scalars and numeric arrays,
    and the message hub's HistoryBuffers.

    Args:
        path: Path of the file.
        map_location: As for ``torch.load``.

    Returns:
        Its content, with :func:`restore` applied.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or contains anything else. Before torch 2.6, this
            includes checkpoints that mmengine's Runner writes without this package.
    """
    if not os.path.isfile(path):
        problem = 'is not a file' if os.path.exists(path) else 'can not be found'
        raise FileNotFoundError(f'{path} {problem}.')
    _warn_of_old_torch()
    if fault := _find_danger(path) or find_fault(Path(path)):
        raise ValueError(f'{path} is not loaded: it {fault}.')
    try:
        with _stand_ins():
            content = torch.load(path, map_location=map_location, weights_only=True)
        if not isinstance(content, dict):
            raise ValueError(f'it is a {type(content).__name__}, not a dictionary of weights')
        restore(content)
    # With a damaged file, torch's unpickler raises all kinds of errors.
    except Exception as error:
        raise ValueError(f'{path} is not loaded: {_reason(error)}') from error
    return content


def _warn_of_old_torch() -> None:
    if not _torch_is_at_least(SAFE_TORCH):
        warnings.warn(
            f'torch {torch.__version__} reads checkpoints with known vulnerabilities, fixed in '
            f'{SAFE_TORCH}; do not load files from strangers.',
            stacklevel=3,
        )


def _find_danger(path: str | Path) -> str | None:
    """Find what torch may load as code, whatever `weights_only` says, and compressed ZIP files."""
    if _is_tar(path):
        return 'is a tar file, a format of old versions of torch that cannot be read safely'
    if _is_torchscript(path):
        return 'is a TorchScript archive, which contains code'
    try:
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
    # Any kind of damage; find_fault describes it.
    except Exception:
        return None
    outside = os.path.getsize(path)
    return f'is compressed: {outside} bytes become {inside}' if inside > outside else None


def _is_tar(path: str | Path) -> bool:
    """Open it as torch does; other modes would decompress it."""
    try:
        tarfile.open(path, 'r:').close()
    except tarfile.TarError:
        return False
    # A damaged tar file raises all kinds of errors.
    except Exception:
        return True
    return True


def _is_torchscript(path: str | Path) -> bool:
    """Ask torch's own reader: before 2.6, torch runs such a file in spite of `weights_only`."""
    with open(path, 'rb') as file:
        try:
            return TORCHSCRIPT in torch._C.PyTorchFileReader(file).get_all_records()
        # Not a ZIP file, or damaged; torch.load fails in the same way.
        except Exception:
            return False


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    if not _torch_is_at_least(STAND_IN_TORCH):
        yield
        return
    with torch.serialization.safe_globals(STAND_INS):
        yield


def _torch_is_at_least(version: str) -> bool:
    return digit_version(torch.__version__) >= digit_version(version)


def _reason(error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if not refused or not isinstance(error, pickle.UnpicklingError):
        first_line = str(error).split('WeightsUnpickler error: ')[-1].strip().split('\n')[0]
        return f'it is damaged or not a checkpoint ({type(error).__name__}: {first_line}).'
    if not _torch_is_at_least(STAND_IN_TORCH) and any(name == refused[1] for _, name in STAND_INS):
        return (
            f'it holds {refused[1]}, as checkpoints do that mmengine wrote without our '
            f'PlainCheckpointHook; reading these takes torch {STAND_IN_TORCH} or newer.'
        )
    return (
        f'it holds {refused[1]}, and only tensors and plain values are read from a checkpoint, '
        'since anything else can run code. If you made the file yourself, load it with '
        'torch.load(..., weights_only=False) and save its state dict.'
    )


def _download(url: str, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), progress=os.isatty(0))

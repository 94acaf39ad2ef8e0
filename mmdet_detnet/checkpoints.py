"""Checkpoints: read without running code, written durably, found again after a crash.

Importing this module makes mmengine read every checkpoint without running code in it, through
``CheckpointLoader.register_scheme``: mmengine's extension point, and the only one that all callers
use (``Runner``, ``init_detector``, inferencers, ``init_cfg``). It also replaces the download of
mmengine's other loaders. It applies to the whole process.
Files that torch 2.6 and newer load still load, and so do mmengine's own checkpoints, which torch
alone rejects.
"""

import contextlib
import functools
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import mmengine
import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_torchvision_models
from mmengine.utils import digit_version

from mmdet_detnet.files import read_json, write_file
from mmdet_detnet.host import load_torchvision

__all__ = ['force_weights_only', 'keep_own_files', 'make_plain', 'read_checkpoint', 'restore']

# From this version on, torch accepts stand-ins by name.
STAND_IN_TORCH = '2.6.0'
# Before, torch.load(weights_only=True) has known holes: CVE-2026-24747, CVE-2025-32434.
SAFE_TORCH = '2.10.0'
# How torch names what it rejects, before and since 2.4.
REFUSED = re.compile(r'(?:GLOBAL|Unsupported class) (\S+)')
# The file by which torch knows a TorchScript archive, which is code.
TORCHSCRIPT = 'constants.pkl'
# mmengine's table of the addresses of torchvision's weights.
ADDRESSES = Path(mmengine.__path__[0], 'hub', 'torchvision_0.12.json')
FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
FORCE_NOT = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
WEIGHTS = ('state_dict', 'ema_state_dict', 'optimizer')
HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}

# Names that mmengine gives to checkpoints, and the numbers in them.
CHECKPOINT = re.compile(r'(best_.+_)?(epoch|iter)_\d+(_iter_\d+)?\.pth')
STEP = re.compile(r'\d+(_iter_\d+)?')
# What the message hub notes of files that a resumed run removes.
FILE_KEYS = ('best_ckpt', 'last_ckpt')
BACKEND = 'mmdet_detnet.checkpoint_files'
# Files of a work directory: the newest checkpoint, as mmengine has it, and the id of the run.
POINTER = 'last_checkpoint'
RUN_FILE = 'run_id'
# Key of that id in a checkpoint's `meta`.
RUN = 'run'
ZIP_START = b'PK\x03\x04'


# ------------------------------------------------------------------------------------ reading


def force_weights_only() -> None:
    """Make every ``torch.load`` of this process and its children reject code; for scripts.

    It concerns what :func:`read_checkpoint` does not load, such as ``s3://``.
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
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local file for mmengine."""
    return read_checkpoint(os.path.expanduser(filename), map_location)


@CheckpointLoader.register_scheme(('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a URL for mmengine, from torch's cache if it is there."""
    cached = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(filename).path).name)
    # The main process first, then the others, whose machines may have caches of their own.
    for is_turn in (is_main_process(), True):
        if is_turn and not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(filename, str(cached), progress=os.isatty(0))
            except OSError as error:
                text = f'{filename} cannot be downloaded ({error}). Save it as {cached}.'
                raise FileNotFoundError(text) from error
        barrier()
    return read_checkpoint(cached, map_location)


# The loaders of open-mmlab:// and mmcls:// call it by its name.
mmengine.runner.checkpoint.load_from_http = load_from_http


@CheckpointLoader.register_scheme('torchvision://', force=True)
def load_from_torchvision(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load weights of torchvision for mmengine, which knows most addresses without torchvision."""
    torchvision = load_torchvision()
    urls = get_torchvision_models() if torchvision else read_json(ADDRESSES)
    name = filename.removeprefix('torchvision://')
    if name not in urls:
        others = '' if torchvision else '; others need torchvision'
        raise ValueError(f'{filename} must be one of {sorted(urls)}{others}.')
    return load_from_http(urls[name], map_location)


def _as_data(loader: Callable) -> Callable:
    """Make a loader of mmengine that calls torch.load itself, as of ``s3://``, run no code."""

    @functools.wraps(loader)
    def load(*args: Any, **kwargs: Any) -> Any:
        with weights_only_forced():
            content = loader(*args, **kwargs)
        if isinstance(content, dict):
            restore(content)
        return content

    return load


for _prefix, _loader in tuple(CheckpointLoader._schemes.items()):
    if _loader not in (load_from_local, load_from_http, load_from_torchvision):
        CheckpointLoader.register_scheme(_prefix, _as_data(_loader), force=True)


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a file written by ``torch.save`` without executing any code in it.

    Accepts tensors, plain values and what mmengine's Runner adds: NumPy scalars and numeric arrays,
    and the message hub's HistoryBuffers, all as after :func:`restore`.

    Args:
        path: The file.
        map_location: As for ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or contains anything else. Before torch 2.6, this
            includes checkpoints that mmengine's Runner writes without this package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} {find_problem(path)}.')
    if not _torch_is_at_least(SAFE_TORCH):
        warnings.warn(
            f'torch {torch.__version__} reads checkpoints with known vulnerabilities, fixed in '
            f'{SAFE_TORCH}; do not load files from strangers.',
            stacklevel=2,
        )
    if problem := _find_danger(path) or find_problem(path):
        raise ValueError(f'{path} is not loaded: it {problem}.')
    try:
        content = _load(path, map_location)
        if not isinstance(content, dict):
            raise ValueError(f'it is a {type(content).__name__}, not a dictionary of weights')
        restore(content, path.parent)
    # With a damaged file, torch's unpickler raises all kinds of errors.
    except Exception as error:
        raise ValueError(f'{path} is not loaded: {_reason(error)}') from error
    return content


def _load(path: Path, map_location: Any, mmap: bool | None = None) -> Any:
    with contextlib.ExitStack() as stack:
        if _torch_is_at_least(STAND_IN_TORCH):
            stack.enter_context(torch.serialization.safe_globals(STAND_INS))
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)


def _torch_is_at_least(version: str) -> bool:
    return digit_version(torch.__version__) >= digit_version(version)


def _find_danger(path: Path) -> str | None:
    """Find what torch may load as code, whatever `weights_only` says, and compressed ZIP files."""
    try:
        tarfile.open(path, 'r:').close()  # as torch does; other modes would decompress it
        is_tar = True
    except Exception as error:  # a damaged tar file raises all kinds of errors
        is_tar = not isinstance(error, tarfile.TarError | PermissionError)
    if is_tar:
        return 'is a tar file, a format of old versions of torch that cannot be read safely'
    # What is not a ZIP file, or damaged, is left to find_problem and torch.load.
    with contextlib.suppress(Exception), open(path, 'rb') as file:
        # Before 2.6, torch runs such a file in spite of `weights_only`.
        if TORCHSCRIPT in torch._C.PyTorchFileReader(file).get_all_records():
            return 'is a TorchScript archive, which contains code'
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
        inside = sum(entry.file_size for entry in archive.infolist())
        if inside > (outside := os.path.getsize(path)):
            return f'is compressed: {outside} bytes become {inside}'
    return None


def _reason(error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if not refused or not isinstance(error, pickle.UnpicklingError):
        first_line = str(error).split('WeightsUnpickler error: ')[-1].strip().split('\n')[0]
        return f'it is damaged or not a checkpoint ({type(error).__name__}: {first_line}).'
    if any(name == refused[1] for _, name in STAND_INS):
        return (
            f'it includes {refused[1]}, as checkpoints do that mmengine wrote without our '
            f'PlainCheckpointHook; reading these takes torch {STAND_IN_TORCH} or newer.'
        )
    return (
        f'it includes {refused[1]}, and only tensors and plain values are read from a checkpoint, '
        'since anything else can run code. If you made the file yourself, load it with '
        'torch.load(..., weights_only=False) and save its state dict.'
    )


# ------------------------------------------------------------- plain values and back to objects


def make_plain(checkpoint: dict[str, Any]) -> None:
    """Replace, in place, everything that torch would not load with ``weights_only``.

    A HistoryBuffer becomes a dictionary of its arguments, with tensors for its two arrays. NumPy
    scalars become Python numbers, NumPy arrays lists, and configs dictionaries. Weights and
    optimizer state do not change. mmengine without this package can also resume from such a file,
    except for the log history.

    Args:
        checkpoint: What ``torch.save`` is to write, as mmengine's Runner makes it.
    """
    for key in checkpoint.keys() - set(WEIGHTS):
        checkpoint[key] = _plain(checkpoint[key])


def _plain(value: object) -> object:
    if isinstance(value, HistoryBuffer):
        log_history, count_history = (
            torch.tensor(np.asarray(part, dtype=np.float64)) for part in value.data
        )
        return dict(
            log_history=log_history, count_history=count_history, max_length=value.max_length
        )
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    return value


def restore(checkpoint: dict[str, Any], folder: Path | None = None) -> None:
    """Undo :func:`make_plain` for the message hub, and drop what mmengine would execute or remove.

    Works in place; ``folder`` is that of :func:`keep_own_files`. mmengine's ``Runner.resume``
    executes ``checkpoint['meta']['config']`` as Python. Since 0.2, it writes ``cfg`` instead, which
    it does not execute.

    Raises:
        ValueError: If the history of a scalar is not two vectors of equal length.
    """
    for key in checkpoint.keys() - set(WEIGHTS):
        checkpoint[key] = _restored(checkpoint[key], {})
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    keep_own_files(checkpoint, folder)


def _restored(value: Any, done: dict[int, Any]) -> Any:
    """Replace stand-ins and plain histories; each object once, also if it contains itself."""
    if id(value) in done:
        return done[id(value)]
    result = done[id(value)] = value
    if isinstance(value, ArrayStandIn | HistoryStandIn):
        result = value.value
    elif isinstance(value, dict):
        for key, item in value.items():
            value[key] = _restored(item, done)
        if value.keys() == HISTORY_KEYS:
            result = _build_history(**value)
    elif isinstance(value, list):
        value[:] = [_restored(item, done) for item in value]
    elif isinstance(value, tuple):
        result = tuple(_restored(item, done) for item in value)
    done[id(value)] = result
    return result


def keep_own_files(checkpoint: dict[str, Any], folder: Path | None) -> None:
    """Drop, in place, what a checkpoint says of files other than checkpoints in a run's folder.

    A resumed run removes the files and folders that ``message_hub`` names as outdated checkpoints:
    a hostile file could name any. Only names that mmengine gives to checkpoints remain, and only
    for plain files in the folder of the run's checkpoints, wherever it was when the checkpoint was
    written. Without a folder, none remains.
    """
    hub = checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    if not isinstance(info, dict):
        return
    for key in [key for key in info if str(key).startswith(FILE_KEYS)]:
        name = os.path.basename(info[key]) if isinstance(info[key], str) else ''
        path = folder / name if folder is not None and CHECKPOINT.fullmatch(name) else None
        if path is not None and path.is_file() and not path.is_symlink():
            info[key] = str(path)
        else:
            del info[key]
    steps = info.get('keep_ckpt_ids')
    if steps is not None:
        info['keep_ckpt_ids'] = [
            step
            for step in (steps if isinstance(steps, list) else ())
            if isinstance(step, int | str) and STEP.fullmatch(str(step))
        ]


# ------------------------------------- stand-ins for the classes in mmengine's own checkpoints
#
# mmengine pickles its message hub as objects: one HistoryBuffer per scalar, with NumPy arrays and
# its statistics as methods, `getattr(HistoryBuffer, 'mean')`. With the real `getattr` on torch's
# safe list, a file could reach `eval`; with the real HistoryBuffer or ndarray, it could set any
# attribute. The stand-ins replace these names while one file is read, and keep only numbers.

NUMBER = re.compile(r'[biuf][1248]')


class DtypeStandIn:
    """A numeric type, instead of ``numpy.dtype``; ``code`` is kind and bytes, such as 'f8'."""

    def __init__(self, code: str, *options: bool) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise ValueError(f'a NumPy value of type {code!r}; only numbers are allowed')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        """Set the byte order, the only state that numbers have."""
        self.dtype = self.dtype.newbyteorder(state[1])


class ArrayStandIn:
    """An array of numbers, instead of ``numpy.ndarray``."""

    def __setstate__(self, state: tuple) -> None:
        """Copy the numbers; NumPy raises an error if there are too few for the shape."""
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
            raise ValueError('a NumPy array of objects; only numbers are allowed')
        order: Literal['F', 'C'] = 'F' if is_fortran else 'C'
        self.value = np.ndarray(shape, dtype.dtype, buffer=data, order=order).copy()


class HistoryStandIn:
    """A history of numbers, instead of ``HistoryBuffer``.

    The methods in its state are dropped: mmengine would put them into a table that all
    HistoryBuffers of the process share.
    """

    def __setstate__(self, state: dict) -> None:
        """Copy the two arrays and the maximum length."""
        log_history, count_history = state['_log_history'].value, state['_count_history'].value
        self.value = _build_history(log_history, count_history, state['max_length'])


def _build_history(log_history: Any, count_history: Any, max_length: Any) -> HistoryBuffer:
    histories = [
        each.cpu().numpy() if isinstance(each, torch.Tensor) else each
        for each in (log_history, count_history)
    ]
    shapes = [each.shape if isinstance(each, np.ndarray) else () for each in histories]
    are_vectors = shapes[0] == shapes[1] and len(shapes[0]) == 1
    if not are_vectors or type(max_length) is not int or max_length < 1:
        raise ValueError('a HistoryBuffer that is not two vectors of equal length and a maximum')
    return HistoryBuffer(*histories, max_length)


def _reconstruct(*_: Any) -> ArrayStandIn:
    """Create an empty array, instead of NumPy's function; its state follows in the file."""
    return ArrayStandIn()


def _scalar(dtype: DtypeStandIn, data: bytes) -> float | int | bool:
    """Read one number, instead of NumPy's function."""
    if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
        raise ValueError('a NumPy scalar that is not a number')
    (value,) = np.frombuffer(data, dtype.dtype).tolist()
    return value


def _name_statistic(owner: type, name: str) -> str:
    """Return the name of a HistoryBuffer's statistic, instead of ``getattr``."""
    if owner is not HistoryStandIn:
        raise ValueError(f'the attribute {name!r}, which is not a statistic of a HistoryBuffer')
    return name


# NumPy 2 renamed numpy.core; a file contains the name used by the NumPy that wrote it.
STAND_INS: list[tuple[Any, str]] = [
    (HistoryStandIn, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (ArrayStandIn, 'numpy.ndarray'),
    (DtypeStandIn, 'numpy.dtype'),
    (_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (_scalar, 'numpy._core.multiarray.scalar'),
    (_scalar, 'numpy.core.multiarray.scalar'),
    (_name_statistic, 'builtins.getattr'),
]


# ------------------------------------------------------------------------- writing and finding


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write or replace a checkpoint atomically.

    Raises:
        OSError: If it cannot be written; names it. A previous file at ``path`` remains.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f'{path} could not be written ({len(content)} bytes): {error.strerror}. '
            'Older checkpoints are unchanged.',
        ) from error


class CheckpointFiles(LocalBackend):
    """mmengine's local files, with checkpoints written by this module."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a checkpoint."""
        write_checkpoint(Path(filepath), bytes(obj))

    def remove(self, filepath: str | Path) -> None:
        """Leave it to :func:`sweep`: mmengine's hook would remove the old one before it saves."""


register_backend(BACKEND, CheckpointFiles)


def sweep(folder: Path, template: str, kept: set[Path], run: str) -> None:
    """Remove a run's outdated checkpoints, and the partial files of killed saves.

    Args:
        folder: Folder of the run's checkpoints; no other process writes there.
        template: As for :func:`find_newest`.
        kept: Checkpoints of this template to keep, and all newer ones; if empty, all remain.
        run: Id of the run; files of others remain.
    """
    numbers = _numbered(folder, template)
    oldest = min((numbers[path] for path in kept if path in numbers), default=(0, 0))
    for path, number in numbers.items():
        if number < oldest and path not in kept and read_run(path) == run:
            path.unlink()
    for path in _numbered(folder, f'{template}.tmp'):
        path.unlink()


def find_problem(path: Path) -> str | None:
    """Explain why a checkpoint is damaged, to follow the file's name; None if it is intact.

    The checksums inside the ZIP archive decide. Files that are not ZIP archives, such as those from
    before torch 1.6, pass.
    """
    if not path.is_file():
        return 'is not a file' if path.exists() else 'does not exist'
    if path.stat().st_size == 0:
        return 'is empty (0 bytes): the program that wrote it was stopped, or the disk was full'
    with open(path, 'rb') as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    # With a damaged archive, zipfile raises all kinds of errors.
    except Exception as error:
        return f'is damaged ({error})'
    return damaged and f'is damaged: the checksum of {damaged} inside it does not match'


def read_run(path: Path) -> str | None:
    """Read from a checkpoint the id of the run that wrote it; None if it has none."""
    try:
        run = None if _find_danger(path) else _load(path, 'cpu', mmap=True)['meta'][RUN]
    # A damaged file, or one of another program.
    except Exception:
        return None
    return run if isinstance(run, str) else None


def belongs_to_run(path: Path, folder: Path) -> bool:
    """Return whether a checkpoint is of the run that was last in a folder."""
    run = read_last_run(folder)
    return run != '' and read_run(path) == run


def read_last_run(folder: Path) -> str:
    """Read the id of the run that was last in a folder; empty if a version before noted none."""
    file = folder / RUN_FILE
    return file.read_text(errors='replace').strip() if file.is_file() else ''


def find_newest(folder: Path, template: str) -> tuple[Path | None, list[str]]:
    """Find the newest intact checkpoint of the run that was last in a folder.

    ``template`` is their name with ``{}`` for the number, such as ``'epoch_{}.pth'``.

    Returns:
        The file, or None if there is none, and the reason for skipping each newer one.
    """
    run = read_last_run(folder)
    skipped: list[str] = []
    numbers = _numbered(folder, template)
    for path in sorted(numbers, key=numbers.__getitem__, reverse=True):
        problem = find_problem(path)
        if problem is None and run and read_run(path) != run:
            problem = 'is of another run than the last one in this folder'
        if problem is None:
            return path, skipped
        skipped.append(f'{path} {problem}')
    return None, skipped


def find_others(folder: Path, template: str, run: str) -> list[str]:
    """List the names of the checkpoints in a folder that another run wrote."""
    return sorted(path.name for path in _numbered(folder, template) if read_run(path) != run)


def _numbered(folder: Path, template: str) -> dict[Path, tuple[int, int]]:
    """Find files by their template, with their epoch, and the iteration if saved inside one."""
    prefix, suffix = map(re.escape, template.split('{}'))
    pattern = re.compile(rf'{prefix}(\d+)(?:_iter_(\d+))?{suffix}')
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            found[path] = (int(match[1]), int(match[2] or 0))
    return found

"""Checkpoints: read without running code, written durably, found again after a crash.

Importing this module makes mmengine read local files and URLs with :func:`read_checkpoint`, through
``CheckpointLoader.register_scheme``. This is mmengine's extension point, and the only one that all
callers use: ``Runner``, ``init_detector``, inferencers, ``init_cfg``. It applies to the whole
process. Files that torch 2.6 and newer load still load, and so do mmengine's own checkpoints, which
torch alone rejects. mmengine's loaders of other schemes remain, with ``weights_only`` forced.
"""

import contextlib
import hashlib
import math
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version

from mmdet_detnet.files import file_digest, write_file

__all__ = ['force_weights_only', 'keep_own_files', 'make_plain', 'read_checkpoint', 'restore']

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
WEIGHTS = ('state_dict', 'ema_state_dict', 'optimizer')
HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}

# Names that mmengine gives to checkpoints, and the numbers in them.
CHECKPOINT = re.compile(r'(best_.+_)?(epoch|iter)_\d+(_iter_\d+)?\.pth')
STEP = re.compile(r'\d+(_iter_\d+)?')
# What the message hub notes of files that a resumed run removes.
FILE_KEYS = ('best_ckpt', 'last_ckpt')
BACKEND = 'mmdet_detnet.checkpoint_files'
CHECKSUM_SUFFIX = '.sha256'
# Files of a work directory: the newest checkpoint, as mmengine has it, and the id of the run.
POINTER = 'last_checkpoint'
RUN_FILE = 'run_id'
# Key of that id in a checkpoint's `meta`.
RUN = 'run'
ZIP_START = b'PK\x03\x04'

MapLocation: TypeAlias = Callable | torch.device | str | dict[str, str] | None


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
def load_from_local(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Load a local file for mmengine."""
    return read_checkpoint(os.path.expanduser(filename), map_location)


@CheckpointLoader.register_scheme(('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
    """Load a URL for mmengine, from torch's cache if it is there."""
    cached = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(filename).path).name)
    if is_main_process():
        _download(filename, cached)
    barrier()
    # Each machine has its own cache.
    _download(filename, cached)
    return read_checkpoint(cached, map_location)


def _download(url: str, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), progress=os.isatty(0))


# The loaders of all other schemes, such as torchvision:// and s3://, call torch.load themselves.
for _prefix, _loader in tuple(CheckpointLoader._schemes.items()):
    if _loader not in (load_from_local, load_from_http):
        _loader = weights_only_forced()(_loader)
        CheckpointLoader.register_scheme(_prefix, _loader, force=True)


def read_checkpoint(path: str | Path, map_location: MapLocation = None) -> dict[str, Any]:
    """Read a file written by ``torch.save`` without executing any code in it.

    Accepts tensors, plain values and what mmengine's Runner adds: NumPy scalars and numeric arrays,
    and the message hub's HistoryBuffers, all as after :func:`restore`.

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


def _load(path: Path, map_location: MapLocation, mmap: bool | None = None) -> Any:
    with contextlib.ExitStack() as stack:
        if _torch_is_at_least(STAND_IN_TORCH):
            stack.enter_context(torch.serialization.safe_globals(STAND_INS))
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)


def _torch_is_at_least(version: str) -> bool:
    return digit_version(torch.__version__) >= digit_version(version)


def _find_danger(path: Path) -> str | None:
    """Find what torch may load as code, whatever `weights_only` says, and compressed ZIP files."""
    if _is_tar(path):
        return 'is a tar file, a format of old versions of torch that cannot be read safely'
    if _is_torchscript(path):
        return 'is a TorchScript archive, which contains code'
    try:
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
    # Any kind of damage; find_problem describes it.
    except Exception:
        return None
    outside = os.path.getsize(path)
    return f'is compressed: {outside} bytes become {inside}' if inside > outside else None


def _is_tar(path: Path) -> bool:
    """Open it as torch does; other modes would decompress it."""
    try:
        tarfile.open(path, 'r:').close()
    # A damaged tar file raises all kinds of errors.
    except Exception as error:
        return not isinstance(error, tarfile.TarError)
    return True


def _is_torchscript(path: Path) -> bool:
    """Ask torch's own reader: before 2.6, torch runs such a file in spite of `weights_only`."""
    with open(path, 'rb') as file:
        try:
            return TORCHSCRIPT in torch._C.PyTorchFileReader(file).get_all_records()
        # Not a ZIP file, or damaged; torch.load fails in the same way.
        except Exception:
            return False


def _reason(error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if not refused or not isinstance(error, pickle.UnpicklingError):
        first_line = str(error).split('WeightsUnpickler error: ')[-1].strip().split('\n')[0]
        return f'it is damaged or not a checkpoint ({type(error).__name__}: {first_line}).'
    if not _torch_is_at_least(STAND_IN_TORCH) and any(name == refused[1] for _, name in STAND_INS):
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
    for key in ('meta', 'message_hub'):
        if key in checkpoint:
            checkpoint[key] = _with_arrays(checkpoint[key], {})
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    if isinstance(meta, dict):
        meta.pop('config', None)
    if isinstance(hub, dict) and isinstance(hub.get('log_scalars'), dict):
        hub['log_scalars'] = {k: _restored(value) for k, value in hub['log_scalars'].items()}
    keep_own_files(checkpoint, folder)


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


def _restored(value: object) -> object:
    if not isinstance(value, dict) or value.keys() != HISTORY_KEYS:
        return value
    log_history, count_history = value['log_history'], value['count_history']
    if not isinstance(log_history, torch.Tensor) or not isinstance(count_history, torch.Tensor):
        raise ValueError('a HistoryBuffer whose history is not a tensor')
    return _build_history(
        log_history.cpu().numpy(), count_history.cpu().numpy(), value['max_length']
    )


def _with_arrays(value: object, done: dict[int, object]) -> object:
    """Replace stand-ins by arrays; each object once, however often the file refers to it."""
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = value
    if isinstance(value, ArrayStandIn):
        done[id(value)] = value.array
    elif isinstance(value, tuple):
        done[id(value)] = tuple(_with_arrays(item, done) for item in value)
    elif isinstance(value, dict):
        for key, item in value.items():
            value[key] = _with_arrays(item, done)
    elif isinstance(value, list):
        value[:] = [_with_arrays(item, done) for item in value]
    return done[id(value)]


# ------------------------------------- stand-ins for the classes in mmengine's own checkpoints
#
# mmengine pickles its message hub as objects: one HistoryBuffer per scalar, with NumPy arrays and
# its statistics as methods, `getattr(HistoryBuffer, 'mean')`. With the real `getattr` on torch's
# safe list, a file could reach `eval`; with the real HistoryBuffer or ndarray, it could set any
# attribute. The stand-ins replace these names while one file is read. Each checks its input and
# keeps only numbers.

NUMBER = re.compile(r'[biuf][1248]')
BYTE_ORDERS = ('<', '>', '=', '|')
STATISTICS = ('min', 'max', 'current', 'mean')


class DtypeStandIn:
    """A numeric type, instead of ``numpy.dtype``.

    Args:
        code: Kind and size in bytes, such as 'f8'.
        options: ``align`` and ``copy``, which have no meaning for numbers.
    """

    __slots__ = ('dtype',)

    def __init__(self, code: str, *options: bool) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise ValueError(f'a NumPy value of type {code!r}; only numbers are allowed')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        """Set the byte order, the only state that numbers have."""
        if state[1] not in BYTE_ORDERS:
            raise ValueError(f'a NumPy type with the byte order {state[1]!r}')
        self.dtype = self.dtype.newbyteorder(state[1])


class ArrayStandIn:
    """An array of numbers, instead of ``numpy.ndarray``; empty until its state is set."""

    __slots__ = ('array',)

    def __init__(self) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        """Copy the numbers after checking that the number of bytes fits the shape."""
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
            raise ValueError('a NumPy array of objects; only numbers are allowed')
        shape = tuple(int(length) for length in shape)
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise ValueError(f'a NumPy array of shape {shape} with {len(data)} bytes')
        order = 'F' if fortran_order else 'C'
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy()


class HistoryBufferStandIn(HistoryBuffer):
    """A history of numbers; once its state is set, it is an ordinary HistoryBuffer.

    Statistics methods in the state are dropped: mmengine would put them into a table that all
    HistoryBuffers of the process share.
    """

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: dict) -> None:
        """Copy the two arrays and the maximum length."""
        log_history, count_history = state['_log_history'], state['_count_history']
        for history in (log_history, count_history):
            if not isinstance(history, ArrayStandIn):
                raise ValueError('a HistoryBuffer whose history is not an array')
        buffer = _build_history(log_history.array, count_history.array, state['max_length'])
        self.__dict__.clear()
        self.__dict__.update(vars(buffer))
        self.__class__ = HistoryBuffer


def _build_history(
    log_history: np.ndarray, count_history: np.ndarray, max_length: int
) -> HistoryBuffer:
    if log_history.ndim != 1 or log_history.shape != count_history.shape:
        raise ValueError(
            f'a HistoryBuffer of shapes {log_history.shape} and {count_history.shape}, '
            'instead of two vectors of equal length'
        )
    if type(max_length) is not int or max_length < 1:
        raise ValueError(f'a HistoryBuffer with the maximum length {max_length!r}')
    return HistoryBuffer(log_history, count_history, max_length)


def _reconstruct(subtype: type, shape: tuple, typecode: bytes) -> ArrayStandIn:
    """Create an empty array, instead of NumPy's function; its state follows in the file."""
    if subtype is not ArrayStandIn:
        raise ValueError(f'a NumPy array of the class {subtype!r}')
    return ArrayStandIn()


def _scalar(dtype: DtypeStandIn, data: bytes) -> float | int | bool:
    """Read one number, instead of NumPy's function."""
    if not isinstance(dtype, DtypeStandIn) or not isinstance(data, bytes):
        raise ValueError('a NumPy scalar that is not a number')
    (value,) = np.frombuffer(data, dtype.dtype).tolist()
    return value


def _name_statistic(owner: type, name: str) -> str:
    """Return the name of a HistoryBuffer's statistic, instead of ``getattr``."""
    if owner is not HistoryBufferStandIn or name not in STATISTICS:
        raise ValueError(f'the attribute {name!r}, which is not a statistic of a HistoryBuffer')
    return name


# NumPy 2 renamed numpy.core; a file contains the name used by the NumPy that wrote it.
STAND_INS: list[tuple[Any, str]] = [
    (HistoryBufferStandIn, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (ArrayStandIn, 'numpy.ndarray'),
    (DtypeStandIn, 'numpy.dtype'),
    (_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (_scalar, 'numpy._core.multiarray.scalar'),
    (_scalar, 'numpy.core.multiarray.scalar'),
    (_name_statistic, 'builtins.getattr'),
]


# ------------------------------------------------------------------------------------ writing


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write a checkpoint atomically, with its SHA-256 next to it in the format of ``sha256sum``.

    The checksum is written first. While a file is replaced, the old and the new checksum are both
    listed, so the file counts as intact at any moment.

    Raises:
        OSError: If either file cannot be written; names it. A previous file at ``path`` remains.
    """
    checksum_file = checksum_path(path)
    new = f'{hashlib.sha256(content).hexdigest()}  {path.name}\n'
    old = '' if find_problem(path) else f'{file_digest(path)}  {path.name}\n'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(checksum_file, (old + new).encode())
        write_file(path, content)
        if old:
            write_file(checksum_file, new.encode())
    except OSError as error:
        raise OSError(
            error.errno,
            f'{path} could not be written ({len(content)} bytes): {error.strerror}. '
            'Older checkpoints are unchanged.',
        ) from error


def checksum_path(path: Path) -> Path:
    """Return the path of a checkpoint's checksum file."""
    return path.with_name(path.name + CHECKSUM_SUFFIX)


class CheckpointFiles(LocalBackend):
    """mmengine's local files, with checkpoints written by this module.

    :meth:`remove` only notes a file, and :meth:`remove_outdated` removes it, because mmengine's
    hook removes the old checkpoint before it writes the new one.
    """

    def __init__(self) -> None:
        self.outdated: list[Path] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a checkpoint and its checksum."""
        write_checkpoint(Path(filepath), bytes(obj))

    def remove(self, filepath: str | Path) -> None:
        """Remember a file to remove once a newer one is written."""
        self.outdated.append(Path(filepath))

    def remove_outdated(self, current: set[Path], run: str) -> None:
        """Remove the noted files, except current ones, which replaced them, and other runs'."""
        for path in self.outdated:
            if path not in current and path.is_file() and read_run(path) == run:
                _remove(path)
        self.outdated.clear()


register_backend(BACKEND, CheckpointFiles)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


def sweep(folder: Path, template: str, kept: set[Path], run: str) -> None:
    """Remove what killed saves of a run have left: partial files, and old checkpoints.

    Args:
        folder: Folder of the run's checkpoints; no other process writes there.
        template: As for :func:`find_newest`.
        kept: Checkpoints of this template to keep, and all newer ones; if empty, all remain.
        run: Id of the run; files of others remain.
    """
    numbers = _numbered(folder, template)
    oldest = min((numbers[path] for path in kept if path in numbers), default=None)
    for path, number in numbers.items():
        if oldest is not None and number < oldest and path not in kept and read_run(path) == run:
            _remove(path)
    for suffix in ('.tmp', f'{CHECKSUM_SUFFIX}.tmp', CHECKSUM_SUFFIX):
        for path in _numbered(folder, template + suffix):
            if suffix != CHECKSUM_SUFFIX or not path.with_suffix('').exists():
                path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------ finding


def find_problem(path: Path) -> str | None:
    """Say why a checkpoint is damaged, to follow the file's name; None if it is intact.

    Without a checksum file, as for files of other programs, the checksums inside the zip archive
    decide. Files that are not zip archives, such as those from before torch 1.6, pass.
    """
    if not path.is_file():
        return 'is not a file' if path.exists() else 'does not exist'
    if path.stat().st_size == 0:
        return 'is empty (0 bytes): the program that wrote it was stopped, or the disk was full'
    if checksum_path(path).is_file():
        return _compare_checksum(path)
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


def _compare_checksum(path: Path) -> str | None:
    lines = checksum_path(path).read_text(errors='replace').splitlines()
    expected = [line.split()[0] for line in lines if line.strip()]
    actual = file_digest(path)
    if actual in expected:
        return None
    return (
        f'is damaged: its SHA-256 is {actual[:12]}..., and {checksum_path(path).name} has '
        f'{" or ".join(f"{digest[:12]}..." for digest in expected) or "none"}'
    )


def read_run(path: Path) -> str | None:
    """Read from a checkpoint the id of the run that wrote it; None if it has none."""
    if _find_danger(path):
        return None
    try:
        run = _load(path, 'cpu', mmap=True)['meta'][RUN]
    # A damaged file, or one of another program.
    except Exception:
        return None
    return run if isinstance(run, str) else None


def find_newest(folder: Path, template: str) -> tuple[Path | None, list[str]]:
    """Find the newest intact checkpoint of the run that was last in a folder.

    ``template`` is their name with ``{}`` for the number, such as ``'epoch_{}.pth'``.

    Returns:
        The file, or None if there is none, and the reason for skipping each newer one.
    """
    file = folder / RUN_FILE
    # An older version of this package has noted none.
    run = file.read_text(errors='replace').strip() or None if file.is_file() else None
    skipped: list[str] = []
    numbers = _numbered(folder, template)
    for path in sorted(numbers, key=numbers.__getitem__, reverse=True):
        problem = find_problem(path)
        if problem is None and run is not None and read_run(path) != run:
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
            epoch, iteration = match.groups()
            found[path] = (int(epoch), int(iteration or 0))
    return found

"""Atomic checkpoint files.

A file is written under a temporary name, flushed to disk and renamed, so a killed process or a full
disk never leaves a partial file. Its SHA-256 is stored beside it in the format of ``sha256sum``:
``sha256sum --check epoch_1.pth.sha256`` works.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmdet_detnet.files import write_file

BACKEND = 'mmdet_detnet.checkpoint_files'
CHECKSUM_SUFFIX = '.sha256'
# File of a work directory that names the newest checkpoint, as mmengine has it.
POINTER = 'last_checkpoint'
BLOCK_SIZE = 1 << 20
ZIP_START = b'PK\x03\x04'


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write a checkpoint and its checksum.

    The checksum is written first. While a file is replaced, the old and the new checksum are both
    listed, so the file counts as intact at any moment.

    Args:
        path: Path of the checkpoint.
        content: Content of the file.

    Raises:
        OSError: If either file cannot be written; names it. A previous file at ``path`` remains.
    """
    checksum_file = checksum_path(path)
    new = _checksum_line(path, hashlib.sha256(content).hexdigest())
    old = '' if find_fault(path) else _checksum_line(path, _digest(path))
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


def _checksum_line(path: Path, digest: str) -> str:
    return f'{digest}  {path.name}\n'


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(BLOCK_SIZE):
            digest.update(block)
    return digest.hexdigest()


def checksum_path(path: Path) -> Path:
    """Return the path of a checkpoint's checksum file."""
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def find_fault(path: Path) -> str | None:
    """Find out why a checkpoint is damaged.

    Without a checksum file, as for files of other programs, the checksums inside the zip archive
    decide. Files that are not zip archives, such as those from before torch 1.6, pass.

    Args:
        path: Path of the checkpoint.

    Returns:
        The reason, to follow the file's name, or None if the file is intact.
    """
    if not path.is_file():
        return 'is not a file' if path.exists() else 'does not exist'
    if path.stat().st_size == 0:
        return 'is empty (0 bytes): the program that wrote it was stopped, or the disk was full'
    if checksum_path(path).is_file():
        return _compare_checksum(path)
    with open(path, 'rb') as file:
        is_archive = file.read(len(ZIP_START)) == ZIP_START
    return _find_fault_in_archive(path) if is_archive else None


def _compare_checksum(path: Path) -> str | None:
    lines = checksum_path(path).read_text(errors='replace').splitlines()
    expected = [line.split()[0] for line in lines if line.strip()]
    actual = _digest(path)
    if actual in expected:
        return None
    return (
        f'is damaged: its SHA-256 is {actual[:12]}..., and {checksum_path(path).name} has '
        f'{" or ".join(f"{digest[:12]}..." for digest in expected) or "none"}'
    )


def _find_fault_in_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    # With a damaged archive, zipfile raises all kinds of errors.
    except Exception as error:
        return f'is damaged ({error})'
    return damaged and f'is damaged: the checksum of {damaged} inside it does not match'


def find_newest(folder: Path, template: str) -> tuple[Path | None, list[str]]:
    """Find the newest intact checkpoint of a run.

    Args:
        folder: Folder of the run's checkpoints.
        template: Their name with ``{}`` for the number, such as ``'epoch_{}.pth'``.

    Returns:
        The file, or None if there is none, and the reason for skipping each newer one.
    """
    skipped: list[str] = []
    for path in _newest_first(folder, template):
        fault = find_fault(path)
        if fault is None:
            return path, skipped
        skipped.append(f'{path} {fault}')
    return None, skipped


def _newest_first(folder: Path, template: str) -> Iterator[Path]:
    """Sort by epoch, then by the iteration of files saved inside an epoch."""
    prefix, suffix = map(re.escape, template.split('{}'))
    pattern = re.compile(rf'{prefix}(\d+)(?:_iter_(\d+))?{suffix}')
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            found[path] = [int(number or 0) for number in match.groups()]
    return iter(sorted(found, key=found.__getitem__, reverse=True))


class CheckpointFiles(LocalBackend):
    """mmengine's local files, with checkpoints written by this module.

    :meth:`remove` only notes a file, and :meth:`remove_outdated` removes it, because mmengine's
    hook removes the old checkpoint before it writes the new one.
    """

    def __init__(self) -> None:
        self.outdated: list[Path] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a checkpoint and its checksum.

        Args:
            obj: Content of the file.
            filepath: Path of the file.
        """
        write_checkpoint(Path(filepath), bytes(obj))

    def remove(self, filepath: str | Path) -> None:
        """Remember a file to remove once a newer one is written.

        Args:
            filepath: Path of the file.
        """
        self.outdated.append(Path(filepath))

    def remove_outdated(self, current: set[Path]) -> None:
        """Remove the noted files and their checksums.

        Args:
            current: Files to keep anyway, because a new file has replaced them.
        """
        for path in self.outdated:
            if path not in current:
                path.unlink(missing_ok=True)
                checksum_path(path).unlink(missing_ok=True)
        self.outdated.clear()


register_backend(BACKEND, CheckpointFiles)

"""Checkpoint files that are either whole or not there.

A file is written under another name, flushed to the disk and moved into place, so that neither a
killed process nor a full disk leaves half of one. Its SHA-256 stands beside it, as ``sha256sum``
writes it; ``sha256sum --check epoch_1.pth.sha256`` works.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

BACKEND = 'mmdet_detnet.checkpoint_files'
CHECKSUM_SUFFIX = '.sha256'
TEMPORARY_SUFFIX = '.tmp'
BLOCK_SIZE = 1 << 20
ZIP_START = b'PK\x03\x04'


def write_file(path: Path, content: bytes) -> None:
    """Write a file, or replace one, so that there is never a part of it under its name.

    Args:
        path: Of the file; its folder must exist.
        content: All of it.

    Raises:
        OSError: If the disk is full or refuses. What was at ``path`` is still there.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder: without it, a power failure may undo a finished move."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write a checkpoint and its checksum.

    The checksum goes first. Where a file is replaced, both its old and its new checksum stand
    there in between, so that it counts as whole at any moment.

    Args:
        path: Of the checkpoint.
        content: All of it.

    Raises:
        OSError: If one cannot be written; names the file. What was at ``path`` is still there.
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
            'Older checkpoints are as they were.',
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
    """Name the file that holds a checkpoint's checksum."""
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def find_fault(path: Path) -> str | None:
    """Say why a checkpoint is not whole.

    Without a checksum beside it, as files of other programs are, the checksums inside the zip
    archive decide. What is no zip archive, as files older than torch 1.6, passes.

    Args:
        path: Of the checkpoint.

    Returns:
        The reason, to follow the file's name, or None if the file is whole.
    """
    if not path.is_file():
        return 'does not exist'
    if path.stat().st_size == 0:
        return 'is empty (0 bytes): the program that wrote it was stopped, or the disk was full'
    if checksum_path(path).is_file():
        return _compare_checksum(path)
    with open(path, 'rb') as file:
        is_archive = file.read(len(ZIP_START)) == ZIP_START
    return _find_fault_in_archive(path) if is_archive else None


def _compare_checksum(path: Path) -> str | None:
    expected = [line.split()[0] for line in checksum_path(path).read_text().splitlines() if line]
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
    # A damaged archive gets zipfile to raise errors of every kind.
    except Exception as error:
        return f'is not whole ({error})'
    return damaged and f'is damaged: the checksum of {damaged} inside it does not fit'


def find_newest(folder: Path, template: str) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint of a run.

    Args:
        folder: Where the run keeps its checkpoints.
        template: Their name with ``{}`` in place of a number, such as ``'epoch_{}.pth'``.

    Returns:
        The file, or None if there is none, and for each newer one why it was passed over.
    """
    skipped: list[str] = []
    for path in _newest_first(folder, template):
        fault = find_fault(path)
        if fault is None:
            return path, skipped
        skipped.append(f'{path} {fault}')
    return None, skipped


def _newest_first(folder: Path, template: str) -> Iterator[Path]:
    """Order by epoch, then by the iteration of files that were saved inside an epoch."""
    prefix, suffix = map(re.escape, template.split('{}'))
    pattern = re.compile(rf'{prefix}(\d+)(?:_iter_(\d+))?{suffix}')
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            found[path] = [int(number or 0) for number in match.groups()]
    return iter(sorted(found, key=found.__getitem__, reverse=True))


class CheckpointFiles(LocalBackend):
    """mmengine's local files, with checkpoints written as this module does.

    :meth:`remove` only takes note of a file, and :meth:`remove_outdated` removes it: mmengine's
    hook removes the old checkpoint before it writes the new one.
    """

    def __init__(self) -> None:
        self.outdated: list[Path] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a checkpoint and its checksum.

        Args:
            obj: Content of the file.
            filepath: Of the file.
        """
        write_checkpoint(Path(filepath), bytes(obj))

    def remove(self, filepath: str | Path) -> None:
        """Remember a file that is to go once a newer one is written.

        Args:
            filepath: Of the file.
        """
        self.outdated.append(Path(filepath))

    def remove_outdated(self, current: set[Path]) -> None:
        """Remove the files remembered and their checksums.

        Args:
            current: Files to keep all the same: what a new file has replaced.
        """
        for path in self.outdated:
            if path not in current:
                path.unlink(missing_ok=True)
                checksum_path(path).unlink(missing_ok=True)
        self.outdated.clear()


register_backend(BACKEND, CheckpointFiles)

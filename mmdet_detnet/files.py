"""Read and write a user's files: nothing is half written, and nothing of theirs is replaced."""

import gc
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Names the files in a folder that our commands made, one per line.
MARK = '.mmdet_detnet'
BLOCK_SIZE = 1 << 20


def find_in_package(name: str) -> Path | None:
    """Find ``package::folder/file.py`` below the configs of a package, installed or a checkout."""
    package, separator, path = name.partition('::')
    spec = find_spec(package) if separator and package.isidentifier() else None
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).resolve().parent
    places = [root / '.mim' / 'configs' / path, root.parent / 'configs' / path]
    return next((place for place in places if place.exists()), None)


def config_path(name: str = '') -> str:
    """Return the path of one of the package's configs, in an installed wheel or a source checkout.

    Args:
        name: Path below ``configs/``, such as ``'detnet/faster-rcnn_detnet59_fpn_1x_coco.py'``. By
            default, the folder itself.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    path = find_in_package(f'mmdet_detnet::{name}')
    if path is None:
        raise FileNotFoundError(
            f'mmdet_detnet has no config {name!r}: neither below .mim/configs in '
            f'{Path(__file__).parent}, nor below configs next to it.'
        )
    return str(path)


def folder_of_config() -> str:
    """Return the folder of the config that calls this, for a ``data_root`` that moves with it.

    mmengine's ``{{ fileDirname }}`` would paste the folder's name into the config's Python source,
    where a quote in the name ends the string, and the rest runs.
    """
    # mmengine compiles each config with its path.
    return f'{Path(sys._getframe(1).f_code.co_filename).parent.as_posix()}/'


def check_files(*files: str | Path) -> None:
    """Raise FileNotFoundError for the first file that does not exist; URLs are not checked."""
    for file in files:
        if '://' not in str(file) and not Path(file).expanduser().is_file():
            raise FileNotFoundError(f'No such file: {file}.')


@contextmanager
def stop_collector() -> Iterator[None]:
    """Stop Python's garbage collector while many objects without cycles are made.

    Every container counts towards a collection of all objects of torch and mmdet: parsing COCO's
    training annotations takes 25 s with it, and 3 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_json(path: str | Path) -> Any:
    """Read a JSON file quickly, also a large one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid JSON; names the file.
    """
    try:
        with stop_collector():
            return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}.') from error


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(BLOCK_SIZE):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write or replace a file atomically; its folder must exist.

    Raises:
        OSError: If writing fails, for example on a full disk. A previous file at ``path`` remains.
    """
    temporary = path.with_name(f'{path.name}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    # Without this, a power failure may undo the rename.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class OutputFolder:
    """A folder for the files of a command, which never replaces a file of the user's.

    A command may write files that do not exist, and files that one of our commands made before; a
    file named ``.mmdet_detnet`` in the folder lists those. Nothing is created before the first
    :meth:`path`.

    Args:
        folder: The folder, which may exist.

    Raises:
        FileExistsError: If something other than a folder has this name.

    Examples:
        >>> output = OutputFolder('predictions')
        >>> output.check('a.jpg', 'b.jpg')  # before the work
        >>> output.path('a.jpg').write_bytes(picture)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f'{folder} is a file; results need a folder.')
        mark = self.folder / MARK
        is_ours = mark.is_file() and not mark.is_symlink()
        lines = mark.read_text(encoding='utf-8').splitlines() if is_ours else []
        self._ours: set[str] = {json.loads(line) for line in lines if line.startswith('"')}

    def check(self, *names: str | Path) -> None:
        """Find out whether files can be written.

        Args:
            *names: Paths relative to the folder.

        Raises:
            FileExistsError: If a file is in the way that our commands did not make, or a link leads
                out of the folder; names it.
            ValueError: If a name leads out of the folder.
        """
        mark = self.folder / MARK
        if mark.is_symlink() or (mark.exists() and not mark.is_file()):
            raise FileExistsError(f'{mark} is in the way: it must be a plain file, or not exist.')
        for name in map(Path, names):
            if name.is_absolute() or '..' in name.parts or not name.parts:
                raise ValueError(f'{name} is not a path inside {self.folder}.')
            path = self.folder / name
            links = [part for part in (path, *path.parents) if self._is_link_inside(part)]
            if links:
                raise FileExistsError(f'{links[0]} is a link: results are not written through it.')
            if path.is_dir() or (path.exists() and name.as_posix() not in self._ours):
                raise FileExistsError(
                    f'{path} is in the way: mmdet_detnet did not make it and does not replace it. '
                    'Move it, or write to another folder.'
                )
            blocking = next((each for each in path.parents if each.is_file()), None)
            if blocking:
                raise FileExistsError(f'{blocking} is a file; results need a folder of this name.')

    def _is_link_inside(self, path: Path) -> bool:
        return path != self.folder and path.is_relative_to(self.folder) and path.is_symlink()

    def made(self, path: Path) -> bool:
        """Return whether a command of ours made a file."""
        is_inside = path.absolute().is_relative_to(self.folder.absolute())
        name = path.absolute().relative_to(self.folder.absolute()) if is_inside else path
        return name.as_posix() in self._ours or name == Path(MARK)

    def path(self, name: str | Path) -> Path:
        """Return the path of a file to write, and remember that it is ours.

        The file may exist from an earlier run. Missing folders are created. Errors and ``name`` are
        those of :meth:`check`.
        """
        self.check(name)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        key = Path(name).as_posix()
        if key not in self._ours:
            with open(self.folder / MARK, 'a', encoding='utf-8') as mark:
                mark.write(json.dumps(key) + '\n')
            self._ours.add(key)
        return path

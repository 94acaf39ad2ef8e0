"""Paths of the package's configs, and a check of a user's files."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_path(name: str = '') -> str:
    """Return the path of one of the package's configs, in an installed wheel or a source checkout.

    Args:
        name: Path below ``configs/``, such as ``'detnet/faster-rcnn_detnet59_fpn_1x_coco.py'``. By
            default, the folder itself.

    Returns:
        The absolute path.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    roots = [_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs']
    root = next((folder for folder in roots if folder.is_dir()), None)
    if root is None:
        raise FileNotFoundError(
            f'mmdet_detnet was installed without its configs: neither {roots[0]} nor {roots[1]} is '
            'a folder.'
        )
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f'mmdet_detnet has no config {name!r} below {root}.')
    return str(path)


def check_files(*files: str | Path) -> None:
    """Raise FileNotFoundError for the first file that does not exist; URLs are not checked."""
    for file in files:
        if '://' not in str(file) and not Path(file).is_file():
            raise FileNotFoundError(f'No such file: {file}.')

"""Supported versions of the host libraries, and the check at import."""

import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple


class SupportedVersions(NamedTuple):
    """Supported range of one dependency.

    Attributes:
        minimum: Oldest accepted version; below it, the import fails.
        tested_maximum: Newest tested version; above it, the import warns.
    """

    minimum: str
    tested_maximum: str


SUPPORTED_VERSIONS = {
    'torch': SupportedVersions('2.1.0', '2.13.0'),
    'mmengine': SupportedVersions('0.10.7', '0.10.7'),
    'mmcv': SupportedVersions('2.1.0', '2.1.0'),
    'mmdet': SupportedVersions('3.3.0', '3.3.0'),
    'setuptools': SupportedVersions('60.2.0', '81.0.0'),
}


def check_dependencies() -> None:
    """Check that every dependency is installed in a supported version.

    An importable dependency without a distribution of its name (the onedl forks of the OpenMMLab
    libraries) is accepted unchecked.

    Raises:
        ImportError: If a dependency is missing or too old, or if two installed versions are
            incompatible.
    """
    for name, supported in SUPPORTED_VERSIONS.items():
        if find_spec(name) is None:
            raise ImportError(
                f'mmdet_detnet needs {name} >= {supported.minimum}, which is not installed; '
                f'tested with {name}=={supported.tested_maximum}.'
            )
        _check_version(name, supported)
    _check_combinations()


def _check_combinations() -> None:
    """Reject combinations that would fail later, with a misleading message; unknown ones pass."""
    if () < _installed('torch') < (2, 3, 0) and _installed('numpy') >= (2, 0, 0):
        raise ImportError(
            f'torch {version("torch")} was built for numpy 1, but numpy {version("numpy")} is '
            "installed: pip install 'numpy<2', or torch 2.3 and newer."
        )
    if () < _installed('mmdet') < (3, 4, 0) and _installed('mmcv', 'mmcv-lite') >= (2, 2, 0):
        raise ImportError(
            f"mmdet {version('mmdet')} refuses mmcv 2.2 and newer: pip install 'mmcv-lite==2.1.0'."
        )


def _installed(*names: str) -> tuple[int, ...]:
    """Return the release of the first installed distribution; an empty tuple if none."""
    for name in names:
        try:
            return _release(version(name))
        except PackageNotFoundError:
            continue
    return ()


def _check_version(name: str, supported: SupportedVersions) -> None:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return
    if _release(installed) < _release(supported.minimum):
        raise ImportError(
            f'mmdet_detnet needs {name} >= {supported.minimum}, but {installed} is installed.'
        )
    if _release(installed) > _release(supported.tested_maximum):
        warnings.warn(
            f'mmdet_detnet was tested with {name} up to {supported.tested_maximum}, '
            f'but {installed} is installed.',
            stacklevel=4,
        )


def _release(text: str) -> tuple[int, ...]:
    """Convert '2.13.0+cpu' to (2, 13, 0), ignoring pre-release and local parts."""
    numbers = [int(number) for number in re.findall(r'\d+', re.split(r'[a-z+]', text)[0])]
    return tuple((numbers + [0, 0, 0])[:3])

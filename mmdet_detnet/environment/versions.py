"""Which versions of the host libraries the package supports, and the check at import."""

import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple


class SupportedVersions(NamedTuple):
    """Supported range of one dependency.

    Attributes:
        minimum: Oldest version that is accepted; below it the import fails.
        tested_maximum: Newest version the test suite was run with; above it the
            import warns.
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

    A dependency that is importable but has no distribution of its own name (the
    onedl forks of the OpenMMLab libraries) is taken as it is.

    Raises:
        ImportError: If a dependency is missing or older than its minimum, or if two installed ones
            cannot work together.
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
    """Refuse what fails later on, and then with a message that does not name the cause."""
    if _installed('torch') < (2, 3, 0) and _installed('numpy') >= (2, 0, 0):
        raise ImportError(
            f'torch {version("torch")} was built for numpy 1, but numpy {version("numpy")} is '
            "installed: pip install 'numpy<2', or torch 2.3 and newer."
        )
    if _installed('mmdet') < (3, 4, 0) and _installed('mmcv', 'mmcv-lite') >= (2, 2, 0):
        raise ImportError(
            f"mmdet {version('mmdet')} refuses mmcv 2.2 and newer: pip install 'mmcv-lite==2.1.0'."
        )


def _installed(*names: str) -> tuple[int, ...]:
    """Release of the first distribution that is installed; the empty tuple, below all, if none."""
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
    """Turn '2.13.0+cpu' into (2, 13, 0); pre-release and local parts do not count."""
    numbers = [int(number) for number in re.findall(r'\d+', re.split(r'[a-z+]', text)[0])]
    return tuple((numbers + [0, 0, 0])[:3])

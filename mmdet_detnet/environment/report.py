"""The installed versions and operators, for bug reports."""

import platform
from importlib.metadata import PackageNotFoundError, version

from mmdet_detnet.operators import describe_operators
from mmdet_detnet.version import __version__

DISTRIBUTIONS = (
    'torch',
    'torchvision',
    'numpy',
    'setuptools',
    'opencv-python-headless',
    'opencv-python',
    'mmengine',
    'onedl-mmengine',
    'mmcv',
    'mmcv-lite',
    'onedl-mmcv',
    'mmdet',
    'onedl-mmdetection',
)


def describe_environment() -> str:
    """List the installed versions and the operators that ``mmcv.ops`` uses."""
    rows = {'mmdet_detnet': __version__, 'Python': platform.python_version()}
    rows['system'] = platform.platform()
    for name in DISTRIBUTIONS:
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            continue
    rows['operators'] = describe_operators()
    width = max(map(len, rows))
    return '\n'.join(f'{name:{width}}  {value}' for name, value in rows.items())

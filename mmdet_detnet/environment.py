"""``python -m mmdet_detnet.environment``: installed versions and the operators in use."""

import platform

import torch

from .host import describe_operators, find_version
from .version import __version__

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
    """List the installed versions and the operators that ``mmcv.ops`` uses, for bug reports."""
    rows = {'mmdet_detnet': __version__, 'Python': platform.python_version()}
    rows['system'] = platform.platform()
    rows |= {name: version for name in DISTRIBUTIONS if (version := find_version(name))}
    rows['torch'] = torch.__version__  # with its build, which PyPI's packages leave out
    rows['operators'] = describe_operators()
    width = max(map(len, rows))
    return '\n'.join(f'{name:{width}}  {value}' for name, value in rows.items())


if __name__ == '__main__':
    print(describe_environment())

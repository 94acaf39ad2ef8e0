"""``python -m mmdet_detnet.environment``: installed versions and the operators in use."""

import platform
import subprocess
from pathlib import Path

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


def find_commit() -> str:
    """Return the commit of the checkout that runs, with ``-dirty`` if files have changed.

    An installed package has none: the text is empty.
    """
    root = Path(__file__).parents[1]
    if not (root / '.git').exists():
        return ''
    command = ['git', '-C', str(root), 'describe', '--always', '--dirty', '--exclude=*']
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # without git
        return ''


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

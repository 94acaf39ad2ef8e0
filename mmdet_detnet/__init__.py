"""DetNet, Double-Head, RetinaNet-Conf and IPG-Net as an MMDetection 3.x plug-in.

Importing the package (:mod:`mmdet_detnet.host`) checks the supported versions, makes one entry in
mmengine, provides mmcv's operators if none are compiled, and lets a torchvision that does not fit
torch count as missing. It does not change what torch trusts when it loads a file. The registry
imports the modules when a config first names one, for example ``type='mmdet_detnet.DetNet'``.
"""

import os
import warnings
from typing import TYPE_CHECKING

# OpenMP reads these when torch is first imported. Threads that spin while they wait made a detector
# six times slower next to one other program on the same cores, and threads that never spin made the
# demo's step a third slower on idle cores. Next to a program, 2,000 rounds (some microseconds) make
# the step a tenth slower.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'passive'
    os.environ.setdefault('GOMP_SPINCOUNT', '2000')

from .host import (  # noqa: E402
    check_dependencies,
    guard_torchvision,
    provide_operators,
    register_config_package,
)

check_dependencies()
# mmengine 0.10.7 needs pkg_resources, and no user can change that.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated')

from .files import config_path, folder_of_config  # noqa: E402
from .version import __version__  # noqa: E402

if TYPE_CHECKING:
    from .detector import Detector

register_config_package()
provide_operators()
guard_torchvision()

__all__ = ['Detector', '__version__', 'check_dependencies', 'config_path', 'folder_of_config']


def __getattr__(name: str) -> object:
    """Import ``Detector`` when it is asked for: torch and mmdet take seconds."""
    if name == 'Detector':
        from .detector import Detector

        return Detector
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

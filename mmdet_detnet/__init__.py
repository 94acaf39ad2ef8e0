"""DetNet, Double-Head, RetinaNet-Conf and IPG-Net as an MMDetection 3.x plug-in.

Importing the package checks the supported versions, makes one entry in mmengine
(:mod:`mmdet_detnet.compatibility`) and provides mmcv's operators if none are compiled
(:mod:`mmdet_detnet.operators`). It does not change what torch trusts when it loads a file. The
registry imports the modules when a config first names one, for example
``type='mmdet_detnet.DetNet'``.
"""

import os
import warnings

# OpenMP reads it when torch is first imported, and its threads then do not spin while they wait:
# beside one other program on the same cores, that made a detector six times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from .environment import check_dependencies

check_dependencies()
# mmengine 0.10.7 needs pkg_resources, and no user can change that.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated')

from .compatibility import register_config_package  # noqa: E402
from .files import config_path, folder_of_config  # noqa: E402
from .operators import provide_operators  # noqa: E402
from .version import __version__  # noqa: E402

register_config_package()
provide_operators()

__all__ = ['__version__', 'check_dependencies', 'config_path', 'folder_of_config']

"""DetNet, Double-Head, RetinaNet-Conf and IPG-Net as an MMDetection 3.x plug-in.

Importing the package checks the supported versions, makes one entry in mmengine
(:mod:`mmdet_detnet.compatibility`) and provides mmcv's operators where it has none compiled
(:mod:`mmdet_detnet.operators`); what torch trusts when it loads a file stays as it is. The
modules themselves are imported by the registry the first time a config names one, for example
``type='mmdet_detnet.DetNet'``.
"""

from .environment import check_dependencies

check_dependencies()

from .compatibility import register_config_package  # noqa: E402
from .operators import provide_operators  # noqa: E402
from .paths import config_path  # noqa: E402
from .version import __version__  # noqa: E402

register_config_package()
provide_operators()

__all__ = ['__version__', 'check_dependencies', 'config_path']

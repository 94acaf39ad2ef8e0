"""The registry of the package's modules.

``type='mmdet_detnet.DetNet'`` in any OpenMMLab config leads mmengine here: it imports
this file by the prefix, then the ``locations``, and finds the class. No
``custom_imports`` is needed.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmdet_detnet', locations=['mmdet_detnet.models']
)

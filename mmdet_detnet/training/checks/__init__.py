"""Find faults of a config, a built model or a checkpoint, one sentence each.

Each function returns the faults it finds; :class:`mmdet_detnet.training.ConfigCheckHook` and the
launch scripts raise them as one
:class:`~mmdet_detnet.config.ConfigProblem`.
"""

from .config import find_config_faults
from .feature_maps import FeatureMapCheck
from .frozen_norms import find_frozen_norm_faults
from .modules import find_module_faults
from .pretraining import find_random_frozen_stages
from .weights import check_checkpoint, find_weight_faults

__all__ = [
    'FeatureMapCheck',
    'check_checkpoint',
    'find_config_faults',
    'find_frozen_norm_faults',
    'find_module_faults',
    'find_random_frozen_stages',
    'find_weight_faults',
]

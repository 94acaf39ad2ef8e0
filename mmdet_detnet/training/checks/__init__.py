"""Find problems of a config, a built model, a checkpoint or a run, one sentence each.

Each function returns the problems it finds; :class:`mmdet_detnet.training.ConfigCheckHook` and the
launcher raise them as one :class:`~mmdet_detnet.config.ConfigProblem`.
"""

from .config_checks import find_config_problems, find_random_frozen_stages, innermost_dataset
from .feature_maps import FeatureMapCheck
from .model_checks import (
    check_checkpoint,
    find_frozen_norm_problems,
    find_model_problems,
    find_weight_problems,
    watch_loaded_norms,
)
from .run_checks import find_run_problems, find_run_warnings

__all__ = [
    'FeatureMapCheck',
    'check_checkpoint',
    'find_config_problems',
    'find_frozen_norm_problems',
    'find_model_problems',
    'find_random_frozen_stages',
    'find_run_problems',
    'find_run_warnings',
    'find_weight_problems',
    'innermost_dataset',
    'watch_loaded_norms',
]

"""Checks and changes of a command line before MMDetection's script gets it."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from mmdet_detnet.data.training_data import check_training_data, find_stopping_problems

from .checks import find_config_faults, find_random_frozen_stages, raise_faults
from .checks.overrides import find_override_faults
from .template_variables import restore_class_names, set_template_variables

ALLOW_MISMATCH, SKIP_DATA_CHECK = '--allow-mismatch', '--skip-data-check'
OUR_OPTIONS = (ALLOW_MISMATCH, SKIP_DATA_CHECK)
# Variables with the rank of a process; the first rank checks the data for all.
RANK_VARIABLES = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
HOOK = 'mmdet_detnet.ConfigCheckHook'


def prepare_arguments(
    parse_args: Callable[[], Namespace], is_training: bool, folder: str
) -> list[str]:
    """Check config and options, and prepare the arguments of MMDetection's script.

    Adds ``--allow-mismatch``, ``--skip-data-check`` and the variables of a template in
    ``--cfg-options``. If these or the run's own checks change the config, the script gets a copy of
    it under the same name.

    Args:
        parse_args: The parser of MMDetection's script, which reads ``sys.argv``.
        is_training: Whether the script trains.
        folder: Folder for a copy of the config.

    Returns:
        The arguments, starting with the script's name.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: With one line per fault of the config, the options or the data.
    """
    allow_mismatch = ALLOW_MISMATCH in sys.argv
    with_data = is_training and SKIP_DATA_CHECK not in sys.argv
    sys.argv = [each for each in sys.argv if each not in OUR_OPTIONS]
    args = parse_args()
    config = Config.fromfile(args.config, format_python_code=False)
    options = restore_class_names(dict(args.cfg_options or {}), sys.argv)
    is_changed = bool(set_template_variables(config, options))
    raise_faults(find_override_faults(config, options))
    config.merge_from_dict(options)
    is_changed |= _switch_checks_on(config, allow_mismatch)
    raise_faults(_find_faults(config, args, is_training))
    if with_data and not any(int(os.environ.get(name, 0)) for name in RANK_VARIABLES):
        raise_faults(_find_data_faults(config))
    if not is_changed:
        return sys.argv
    copy = str(Path(folder, Path(args.config).name))
    config.dump(copy)
    return [copy if each == args.config else each for each in sys.argv]


def _switch_checks_on(config: Config, allow_mismatch: bool) -> bool:
    """Add our hook if the config lacks it; return whether anything changed."""
    hooks = config.get('default_hooks') or {}
    known = [*hooks.values(), *(config.get('custom_hooks') or [])]
    found = [hook for hook in known if hook and hook.get('type') in (HOOK, HOOK.split('.')[-1])]
    for hook in found:
        hook.allow_mismatch = allow_mismatch
    if not found:
        check = dict(type=HOOK, allow_mismatch=allow_mismatch)
        config.default_hooks = dict(**hooks, config_check=check)
    return allow_mismatch or not found


def _find_faults(config: Config, args: Namespace, is_training: bool) -> list[str]:
    faults = find_config_faults(config)
    if is_training and not args.resume:
        faults += find_random_frozen_stages(config)
    return faults


def _find_data_faults(config: Config) -> list[str]:
    """Check the annotations; print warnings."""
    faults = []
    for report in check_training_data(config):
        problems = find_stopping_problems(report)
        others = [problem for problem in report.all_problems if problem not in problems]
        print(report.headline, *others, sep='\n', flush=True)
        faults += [f'{report.annotation_file}: {problem}' for problem in problems]
    if faults:
        faults.append(f'{SKIP_DATA_CHECK} trains anyway.')
    return faults

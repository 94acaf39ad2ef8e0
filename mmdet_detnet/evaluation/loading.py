"""Load a config with options, and a detector with all of its weights."""

from pathlib import Path
from typing import Any

from mmdet.apis import init_detector
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.device import get_device

from mmdet_detnet.files import check_files
from mmdet_detnet.training.checks import check_checkpoint, raise_faults
from mmdet_detnet.training.checks.overrides import find_override_faults, find_value
from mmdet_detnet.training.template_variables import set_template_variables


def load_config(config: str | Path, cfg_options: dict[str, Any] | None = None) -> Config:
    """Read a config and override settings, as ``tools/test.py`` does.

    Lists become tuples where the config has one: YAML has none, and MMDetection's
    ``Resize`` requires a tuple, its ``FPN`` a list.

    Args:
        config: Config file.
        cfg_options: Settings by dotted key, and variables of a template.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If an option has no effect or a value of the wrong type.
    """
    cfg, options = Config.fromfile(config), dict(cfg_options or {})
    set_template_variables(cfg, options)
    raise_faults(find_override_faults(cfg, options))
    cfg.merge_from_dict(
        {key: _match_tuple(value, find_value(cfg, key)) for key, value in options.items()}
    )
    return cfg


def _match_tuple(value: Any, old: Any) -> Any:
    return tuple(value) if isinstance(value, list) and isinstance(old, tuple) else value


def load_detector(
    config: str | Path,
    checkpoint: str | Path,
    cfg_options: dict[str, Any] | None = None,
    device: str | None = None,
    allow_mismatch: bool = False,
) -> BaseDetector:
    """Build the detector of a config and load its weights.

    Args:
        config: Config file.
        checkpoint: Checkpoint, a file or URL.
        cfg_options: As for :func:`load_config`.
        device: Device of the detector; None for a GPU if there is one.
        allow_mismatch: Whether the checkpoint may be of another detector than the config's.

    Returns:
        The detector, in evaluation mode.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If an option is wrong, or the checkpoint is of another detector, for example
            with other classes.
    """
    check_files(config, checkpoint)
    cfg = load_config(config, cfg_options)
    detector = init_detector(cfg, str(checkpoint), device=device or get_device())
    if not allow_mismatch:
        check_checkpoint(detector, checkpoint)
    return detector

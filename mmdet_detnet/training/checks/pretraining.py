"""Weights that a config expects but does not get."""

from collections.abc import Mapping

from .faults import fault
from .walk import part, type_name, walk_dicts

PRETRAINED = ('Pretrained', 'PretrainedInit')


def find_pretrained_faults(config: Mapping) -> list[str]:
    """Find ``Pretrained`` without a checkpoint, which would start from random weights."""
    return [
        fault(f'{path}.checkpoint', options.get('checkpoint'), 'a path or URL of weights')
        for path, options in walk_dicts(part(config, 'model'), 'model')
        if type_name(options) in PRETRAINED and not _is_text(options.get('checkpoint'))
    ]


def find_random_frozen_stages(config: Mapping) -> list[str]:
    """Find backbone stages that would be frozen at random weights.

    Returns:
        At most one sentence.
    """
    backbone = part(config, 'model', 'backbone')
    frozen = backbone.get('frozen_stages', -1)
    if not isinstance(frozen, int) or frozen < 0 or backbone.get('pretrained'):
        return []
    if any(config.get(name) for name in ('load_from', 'resume')):
        return []
    if any(type_name(options) in PRETRAINED for _, options in walk_dicts(part(config, 'model'))):
        return []
    allowed = '-1 unless init_cfg or load_from names the weights to freeze'
    return [fault('model.backbone.frozen_stages', frozen, allowed)]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ''

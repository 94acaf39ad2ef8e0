"""Batch norm that is frozen although nothing was ever loaded into it."""

from collections import Counter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NUM_EXAMPLES = 3


def find_frozen_norm_faults(model: nn.Module) -> list[str]:
    """Look for batch norm that stays at its initial values for the whole training.

    With the statistics 0 and 1 it normalizes nothing, and with a scale that is frozen at zero its
    layer gives nothing. What a backbone lists as ``added_parts`` (IPG-Net's guidance and further
    stages) may have such statistics, where the scale is trained.

    Args:
        model: A detector whose weights are loaded; it is switched to training.

    Returns:
        At most two sentences, one for statistics and one for scales.
    """
    model.train()
    norms = {n: each for n, each in model.named_modules() if isinstance(each, _BatchNorm)}
    idle = [n for n, each in norms.items() if _keeps_initial_statistics(each)]
    added = _find_added_parts(model)
    idle = [n for n in idle if not (n.startswith(added) and _is_trained(norms[n]))]
    fixed = [n for n, each in norms.items() if _keeps_initial_scale(each)]
    return [
        *_describe(idle, 'statistics 0 and 1', 'norm_eval=False or frozen_stages=-1'),
        *_describe(fixed, 'scale', 'norm_cfg=dict(requires_grad=True)'),
    ]


def _find_added_parts(model: nn.Module) -> tuple[str, ...]:
    """List what the names of layers begin with that no checkpoint of a ResNet has."""
    return tuple(
        f'{name}.{part}.' if name else f'{part}.'
        for name, module in model.named_modules()
        for part in getattr(module, 'added_parts', ())
    )


def _keeps_initial_statistics(norm: _BatchNorm) -> bool:
    if norm.training or norm.running_mean is None:
        return False
    return bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all())


def _keeps_initial_scale(norm: _BatchNorm) -> bool:
    if norm.weight is None or _is_trained(norm):
        return False
    scale = norm.weight.detach()
    is_initial = bool((scale == 0).all()) or bool((scale == 1).all())
    return is_initial and not torch.any(norm.bias.detach())


def _is_trained(norm: _BatchNorm) -> bool:
    return norm.weight is not None and norm.weight.requires_grad


def _describe(names: list[str], what: str, remedy: str) -> list[str]:
    if not names:
        return []
    parts = Counter('.'.join(name.split('.')[:2]) for name in names)
    places = ', '.join(f'{part} ({count} layers)' for part, count in parts.items())
    return [
        f'Batch norm is frozen at its initial {what} in {places}, such as '
        f'{", ".join(names[:NUM_EXAMPLES])}: it needs a checkpoint that covers these layers, '
        f'or {remedy}.'
    ]

"""Batch norm that is frozen without loaded statistics."""

from collections import Counter

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NUM_EXAMPLES = 3


def find_frozen_norm_faults(model: nn.Module) -> list[str]:
    """Find batch norm that keeps its initial values throughout training.

    With statistics 0 and 1 it does not normalize, and with a scale frozen at zero it outputs
    nothing. The backbone's ``added_parts`` (IPG-Net's guidance and additional stages) may have such
    statistics if the scale is trained.

    Args:
        model: A detector with loaded weights; it is set to training mode.

    Returns:
        At most two faults, one for statistics and one for scales.
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
    """List the prefixes of layers that no ResNet checkpoint has."""
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

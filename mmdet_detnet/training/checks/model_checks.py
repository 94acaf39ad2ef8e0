"""What a built detector shows: modules that do not match, frozen norms, weights of another one."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead, RPNHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _pair

from mmdet_detnet.config import raise_problems

from .config_checks import problem

NUM_EXAMPLES = 3
# State that is not learned; older files lack some of it.
NOT_LEARNED = ('num_batches_tracked', 'mean', 'std')
# How the names of mmdet's losses end that compare boxes and not deltas.
IOU_LOSS = 'IoULoss'


def find_model_problems(model: nn.Module) -> list[str]:
    """Check all anchors, losses and RoI heads of a model."""
    problems = []
    for name, module in model.named_modules():
        problems += _check_anchors(name, module)
        problems += _check_iou_loss(name, module)
        if isinstance(getattr(module, 'bbox_roi_extractor', None), nn.Module):
            problems += _check_roi_head(name, module)
    return problems


def _check_anchors(name: str, head: nn.Module) -> list[str]:
    """Compare the anchors of all levels; equal levels would be trained and detected twice."""
    generator = getattr(head, 'prior_generator', None)
    if not isinstance(generator, AnchorGenerator):
        return []
    anchors = generator.base_anchors
    return [
        f'{name}.anchor_generator must give every level anchors of its own, but those of levels '
        f'{first} and {second} are equal, {generator.base_sizes[second]} pixels: set base_sizes.'
        for second in range(len(anchors))
        for first in range(second)
        if anchors[first].shape == anchors[second].shape
        and torch.equal(anchors[first], anchors[second])
    ][:1]


def _check_iou_loss(name: str, head: nn.Module) -> list[str]:
    """Find IoU losses applied to deltas, in heads with the option `reg_decoded_bbox`."""
    # Other subclasses, such as ATSSHead, always decode themselves.
    has_option = _takes_loss_from(head, 'loss_by_feat', AnchorHead, RPNHead) or _takes_loss_from(
        head, 'loss', BBoxHead
    )
    if not has_option or head.reg_decoded_bbox:
        return []
    loss = type(head.loss_bbox).__name__
    if not loss.endswith(IOU_LOSS):
        return []
    allowed = f'True with {loss}'
    return [problem(f'{name}.reg_decoded_bbox', head.reg_decoded_bbox, allowed)]


def _takes_loss_from(head: nn.Module, method: str, *bases: type) -> bool:
    """Tell whether a head's loss is that of a base class, or ours, which calls it."""
    if not isinstance(head, bases) or not hasattr(head, 'loss_bbox'):
        return False
    owner = next(each for each in type(head).__mro__ if method in vars(each))
    return owner in bases or owner.__module__.startswith('mmdet_detnet.')


def _check_roi_head(name: str, roi_head: nn.Module) -> list[str]:
    """Compare the box heads with their extractors; a cascade has several of both."""
    if getattr(roi_head, 'with_shared_head', False):
        return []
    heads, extractors = roi_head.bbox_head, roi_head.bbox_roi_extractor
    if not isinstance(heads, nn.ModuleList):
        return _check_pair(f'{name}.bbox_head', heads, extractors)
    return [
        found
        for index, (head, extractor) in enumerate(zip(heads, extractors, strict=False))
        for found in _check_pair(f'{name}.bbox_head.{index}', head, extractor)
    ]


def _check_pair(place: str, head: nn.Module, extractor: nn.Module) -> list[str]:
    # SABLHead is a BBoxHead by name only.
    if not isinstance(head, BBoxHead) or not hasattr(head, 'in_channels'):
        return []
    problems = []
    size = _pair(getattr(extractor.roi_layers[0], 'output_size', head.roi_feat_size))
    if _pair(head.roi_feat_size) != size:
        allowed = f"{size}, the output_size of the RoI extractor's layer"
        problems.append(problem(f'{place}.roi_feat_size', head.roi_feat_size, allowed))
    if head.in_channels != extractor.out_channels:
        allowed = f"{extractor.out_channels}, the RoI extractor's out_channels"
        problems.append(problem(f'{place}.in_channels', head.in_channels, allowed))
    return problems


def watch_loaded_norms(model: nn.Module) -> set[str]:
    """Return a set that fills with the names of batch norm's tensors that checkpoints include."""
    loaded: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            module._register_load_state_dict_pre_hook(partial(_note_loaded, loaded, name))
    return loaded


def _note_loaded(
    loaded: set[str], name: str, state: Mapping[str, Tensor], prefix: str, *_: Any
) -> None:
    loaded.update(f'{name}.{key}' for key in ('weight', 'running_mean') if prefix + key in state)


def find_frozen_norm_problems(model: nn.Module, loaded: Set[str] = frozenset()) -> list[str]:
    """Find batch norm that keeps its initial values throughout training.

    With statistics 0 and 1 it does not normalize, and with a scale frozen at zero it outputs
    nothing. The backbone's ``added_parts`` (IPG-Net's guidance and additional stages) may have such
    statistics if the scale is trained.

    Args:
        model: A detector with loaded weights; it is set to training mode.
        loaded: Names of tensors that a checkpoint includes, which may equal the initial ones.
    """
    model.train()
    norms = {n: each for n, each in model.named_modules() if isinstance(each, _BatchNorm)}
    added = _find_added_parts(model)
    idle = [
        n
        for n, each in norms.items()
        if _keeps_initial_statistics(each)
        and f'{n}.running_mean' not in loaded
        and not (n.startswith(added) and _is_trained(each))
    ]
    fixed = [
        n for n, each in norms.items() if _keeps_initial_scale(each) and f'{n}.weight' not in loaded
    ]
    return [
        *_describe_norms(idle, 'statistics 0 and 1', 'norm_eval=False or frozen_stages=-1'),
        *_describe_norms(fixed, 'scale', 'norm_cfg=dict(requires_grad=True)'),
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


def _describe_norms(names: list[str], what: str, remedy: str) -> list[str]:
    if not names:
        return []
    parts = Counter('.'.join(name.split('.')[:2]) for name in names)
    places = ', '.join(f'{part} ({count} layers)' for part, count in parts.items())
    return [
        f'Batch norm is frozen at its initial {what} in {places}, such as '
        f'{", ".join(names[:NUM_EXAMPLES])}: it needs a checkpoint that covers these layers, '
        f'or {remedy}.'
    ]


def find_weight_problems(model: nn.Module, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Compare the weights of a model, not wrapped, with a checkpoint's, by name and shape.

    At most three sentences, which start with ``source``: on shapes, missing and surplus keys.
    """
    own = {key: value.shape for key, value in model.state_dict().items()}
    loaded = {
        str(key).removeprefix('module.'): value.shape
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    other = [
        f'{key} {tuple(loaded[key])} instead of {tuple(shape)}'
        for key, shape in own.items()
        if key in loaded and loaded[key] != shape
    ]
    return [
        *_describe(f'{source} has other shapes than the config', other),
        *_describe(f'{source} lacks weights of the config', _learned(own.keys() - loaded.keys())),
        *_describe(
            f'{source} has weights that the config lacks', _learned(loaded.keys() - own.keys())
        ),
    ]


def check_checkpoint(model: nn.Module, checkpoint: str | Path) -> None:
    """Raise ValueError for a checkpoint file of another model, whose keys or shapes differ."""
    content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    state = content.get('state_dict', content)
    state = state if isinstance(state, Mapping) else {}
    raise_problems(find_weight_problems(model, state, str(checkpoint)))


def _learned(keys: set[str]) -> list[str]:
    return sorted(key for key in keys if key.rpartition('.')[2] not in NOT_LEARNED)


def _describe(what: str, keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    more = f' and {len(keys) - NUM_EXAMPLES} more' if len(keys) > NUM_EXAMPLES else ''
    return [f'{what}: {", ".join(keys[:NUM_EXAMPLES])}{more}.']

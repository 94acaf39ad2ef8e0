"""Find problems of a config, a built model, a checkpoint or a run, one sentence each.

Each ``find`` function returns the problems it finds; :class:`.ConfigCheckHook` and the launcher
raise them as one :class:`~mmdet_detnet.config.ConfigProblem`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.datasets.samplers import MultiSourceSampler
from mmdet.models.dense_heads import AnchorHead, RPNHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.dataset import InfiniteSampler
from mmengine.runner import CheckpointLoader, EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from torch.utils.hooks import RemovableHandle

from mmdet_detnet.config import MAPPINGS, raise_problems

from .resuming import find_sampler

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Samplers whose epoch has no end.
INFINITE = (InfiniteSampler, MultiSourceSampler)
# Heads that take the neck's maps; mask heads may take others.
HEADS = ('rpn_head', 'bbox_head')
GENERATORS = ('prior_generator', 'approx_anchor_generator', 'square_anchor_generator')
# Other extractors may not pool from the neck's maps.
EXTRACTORS = ('bbox_roi_extractor', 'mask_roi_extractor', 'grid_roi_extractor')
# Our heads add to the losses of MMDetection's.
OURS = 'mmdet_detnet.'
NUM_EXAMPLES = 3
# State that is not learned; older files lack some of it.
NOT_LEARNED = ('num_batches_tracked', 'mean', 'std')


def problem(place: str, value: object, allowed: str) -> str:
    """Describe in one sentence what is wrong at a dotted path of a config or model."""
    return f'{place} must be {allowed}, got {value!r}.'


# ------------------------------------------------------------------------- a config and a run


def find_config_problems(config: Mapping) -> list[str]:
    """Check the class names of each dataset of a config, and that all datasets share them."""
    classes: dict[str, Any] = {}
    for loader in LOADERS:
        options = config.get(loader)
        dataset = options.get('dataset') if isinstance(options, MAPPINGS) else None
        if isinstance(dataset, Mapping):
            names = (innermost_dataset(dataset).get('metainfo') or {}).get('classes')
            # mmengine reads a file that has a name on each line.
            if names is not None and not (isinstance(names, str) and Path(names).is_file()):
                classes[f'{loader}.dataset.metainfo.classes'] = names
    problems = [
        problem(place, names, "unique class names, ('name', ...)")
        for place, names in classes.items()
        if not _are_names(names)
    ]
    if problems or not classes:
        return problems
    (first_place, first), *others = classes.items()
    return [
        problem(place, list(names), f'those of {first_place}, {list(first)}')
        for place, names in others
        if list(names) != list(first)
    ]


def innermost_dataset(dataset: Mapping) -> Mapping:
    """Find, in the config of a dataset that repeats, joins or mixes others, the first of these."""
    while dataset.get('dataset') or dataset.get('datasets'):
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    return dataset


def _are_names(names: object) -> bool:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return False
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def find_run_problems(runner: Runner) -> list[str]:
    """Find an epoch without a batch, or without an end, before the first iteration."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return []
    loader, problems = runner.train_dataloader, []
    if isinstance(loader, DataLoader) and len(loader) == 0:
        size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
        problems.append(
            f'train_dataloader has no batch: {len(loader.sampler)} images are fewer than '
            f'batch_size {size}, and drop_last drops them.'
        )
    sampler = find_sampler(loader)
    if isinstance(sampler, INFINITE):
        allowed = 'IterBasedTrainLoop with max_iters: an epoch of this sampler has no end'
        place = f'train_cfg.type with the sampler {type(sampler).__name__}'
        problems.append(problem(place, type(runner.train_loop).__name__, allowed))
    return problems


# ------------------------------------------------------------------ strides, levels and anchors


def find_model_problems(model: nn.Module) -> list[str]:
    """Find heads that would train without an error, but not what their configs mean.

    Two levels with equal anchors are trained and detected twice. That is what equal strides do,
    such as those of DetNet, if ``base_sizes`` is forgotten. IoU losses need decoded boxes.
    """
    problems = []
    for name, head in model.named_modules():
        generator: Any = getattr(head, 'prior_generator', None)
        anchors = generator.base_anchors if isinstance(generator, AnchorGenerator) else []
        equal = [
            (first, second)
            for second in range(len(anchors))
            for first in range(second)
            if torch.equal(anchors[first], anchors[second])
        ]
        for first, second in equal[:1]:
            problems.append(
                f'{name}.anchor_generator must give every level anchors of its own, but those of '
                f'levels {first} and {second} are equal, {generator.base_sizes[second]} pixels: '
                'set base_sizes.'
            )
        loss = type(getattr(head, 'loss_bbox', None)).__name__
        if loss.endswith('IoULoss') and _decodes_by_option(head) and not head.reg_decoded_bbox:
            problems.append(problem(f'{name}.reg_decoded_bbox', False, f'True with {loss}'))
    return problems


def _decodes_by_option(head: nn.Module) -> bool:
    """Return whether `reg_decoded_bbox` decides what the loss of a head compares."""
    for method, *bases in (('loss_by_feat', AnchorHead, RPNHead), ('loss', BBoxHead)):
        if isinstance(head, tuple(bases)):
            # Others, such as ATSSHead, have a loss of their own, and always decode.
            owners = (each for each in type(head).__mro__ if method in vars(each))
            return next(each for each in owners if not each.__module__.startswith(OURS)) in bases
    return False


def watch_maps(detector: nn.Module, name: str = '') -> list[RemovableHandle]:
    """Raise ConfigProblem before a head of a detector receives maps that do not fit its strides.

    ``name`` is as for :func:`find_map_problems`. Returns what to remove after the first batch.
    """
    image_size: list[int] = []

    def note_image(backbone: nn.Module, inputs: tuple) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            image_size[:] = inputs[0].shape[-2:]

    def check_maps(last: nn.Module, inputs: tuple, maps: object) -> None:
        are_maps = isinstance(maps, list | tuple) and all(
            isinstance(each, Tensor) and each.dim() == 4 for each in maps
        )
        if are_maps and image_size:
            raise_problems(find_map_problems(detector, maps, image_size, name))

    backbone, neck = detector.backbone, getattr(detector, 'neck', None)
    last = backbone if neck is None else neck
    return [backbone.register_forward_pre_hook(note_image), last.register_forward_hook(check_maps)]


def find_map_problems(
    detector: nn.Module, maps: Any, image_size: Sequence[int], name: str = ''
) -> list[str]:
    """Compare strides and levels of anchors and RoI extractors with the neck's maps.

    The maps are tensors ``(N, C, h, w)``, and ``image_size`` is height and width in pixels.
    ``name`` is the detector's in the model, followed by a dot; empty for the model itself.
    """
    problems = []
    for module_name, module in detector.named_modules():
        path = module_name.split('.')
        for attribute in GENERATORS:
            strides = getattr(getattr(module, attribute, None), 'strides', None)
            if strides is not None and path[0] in HEADS:
                place = f'{name}{module_name}.{attribute}'
                problems += _check_levels(place, strides, maps, image_size)
        if isinstance(module, BaseRoIExtractor) and set(path) & {*EXTRACTORS}:
            strides, place = module.featmap_strides, f'{name}{module_name}.featmap_strides'
            problems += _check_levels(place, strides, maps[: len(strides)], image_size)
    return problems


def _check_levels(
    place: str, strides: Sequence, maps: Sequence[Tensor], image_size: Sequence[int]
) -> list[str]:
    if len(strides) != len(maps):
        allowed = f'{len(maps)}, as many as there are feature maps'
        return [problem(f'the number of levels of {place}', len(strides), allowed)]
    if all(_fits(stride, each, image_size) for stride, each in zip(strides, maps, strict=True)):
        return []
    real = [round(image_size[1] / each.shape[-1], 1) for each in maps]
    allowed = f'{real}, by the sizes of the feature maps'
    return [problem(f'the strides of {place}', list(strides), allowed)]


def _fits(stride: float | Sequence[float], feature_map: Tensor, size: Sequence[int]) -> bool:
    """Return whether a map has the size that a stride gives, with any rounding."""
    across, down = stride if isinstance(stride, Sequence) else (stride, stride)
    height, width = feature_map.shape[-2:]
    return abs(size[0] / down - height) <= 1 and abs(size[1] / across - width) <= 1


# --------------------------------------------------------------------------------- frozen norms


def find_frozen_norm_problems(model: nn.Module) -> list[str]:
    """Find batch norm that keeps its initial values throughout training.

    With statistics 0 and 1 it does not normalize, and with a scale frozen at zero it outputs
    nothing. The backbone's ``added_parts`` (IPG-Net's guidance and additional stages) may have such
    statistics if the scale is trained. The model, with loaded weights, is set to training mode.
    """
    model.train()
    added = tuple(
        f'{name}.{part}.'.lstrip('.')
        for name, module in model.named_modules()
        for part in getattr(module, 'added_parts', ())
    )
    idle, silent = [], []
    for name, norm in model.named_modules():
        # Caffe's weights have statistics 0 and 1, too, but a scale and bias of their own.
        if not isinstance(norm, _BatchNorm) or not _is_initial(norm):
            continue
        is_trained = norm.weight is not None and norm.weight.requires_grad
        if not norm.training and norm.running_mean is not None:
            is_idle = not norm.running_mean.any() and (norm.running_var == 1).all()
            if is_idle and not (name.startswith(added) and is_trained):
                idle.append(name)
        if norm.weight is not None and not is_trained and not norm.weight.any():
            silent.append(name)
    return [
        *_describe_norms(idle, 'statistics 0 and 1', 'norm_eval=False or frozen_stages=-1'),
        *_describe_norms(silent, 'scale 0', 'norm_cfg=dict(requires_grad=True)'),
    ]


def _is_initial(norm: _BatchNorm) -> bool:
    """Return whether the scale is 1, or 0 as at the end of a residual block, and the bias 0."""
    if norm.weight is None:
        return True
    is_initial = any(bool((norm.weight == value).all()) for value in (0, 1))
    return is_initial and not norm.bias.any()


def _describe_norms(names: list[str], what: str, remedy: str) -> list[str]:
    if not names:
        return []
    parts = Counter('.'.join(name.split('.')[:2]) for name in names)
    places = ', '.join(f'{part}: {count}' for part, count in parts.items())
    return [
        f'Batch norm is frozen at its initial {what} in some layers ({places}), such as '
        f'{", ".join(names[:NUM_EXAMPLES])}: it needs a checkpoint that covers these layers, '
        f'or {remedy}.'
    ]


# ----------------------------------------------------------------------- weights of another model


def check_checkpoint(model: nn.Module, checkpoint: str | Path) -> None:
    """Raise ValueError for a checkpoint file of another model, whose keys or shapes differ."""
    content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    state = content.get('state_dict', content)
    state = state if isinstance(state, Mapping) else {}
    raise_problems(find_weight_problems(model, state, str(checkpoint)))


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
    findings = {
        'has other shapes than the config': [
            f'{key} {tuple(loaded[key])} instead of {tuple(shape)}'
            for key, shape in own.items()
            if key in loaded and loaded[key] != shape
        ],
        'lacks weights of the config': _learned(own.keys() - loaded.keys()),
        'has weights that the config lacks': _learned(loaded.keys() - own.keys()),
    }
    return [
        f'{source} {what}: {", ".join(keys[:NUM_EXAMPLES])}'
        f'{f" and {len(keys) - NUM_EXAMPLES} more" if len(keys) > NUM_EXAMPLES else ""}.'
        for what, keys in findings.items()
        if keys
    ]


def _learned(keys: set[str]) -> list[str]:
    return sorted(key for key in keys if key.rpartition('.')[2] not in NOT_LEARNED)

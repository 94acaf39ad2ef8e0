"""Load pretrained weights into a backbone that extends ResNet, through the usual ``init_cfg``."""

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import mmengine
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

import mmdet_detnet.checkpoints  # noqa: F401  has mmengine load files as data

from .weight_report import WeightReport

BACKBONE_PREFIX = 'backbone.'
# Names of the classifier in torchvision and mmpretrain.
CLASSIFIER_PREFIXES = ('fc.', 'head.')
TORCHVISION_SCHEME = 'torchvision://'
# Prefix of networks that were saved from inside a distributed wrapper.
WRAPPER_PREFIX = 'module.'
# Name of the projection shortcuts in guoruoqian/DetNet_pytorch, whose files must be converted.
DETNET_PYTORCH_SHORTCUT = '.extra_conv.'


def split_pretrained(init_cfg: dict | list[dict] | None) -> tuple[dict | list | None, dict | None]:
    """Separate the checkpoint of an ``init_cfg`` from the other initializers in it.

    mmengine's own ``Pretrained`` replaces the default initialization of ResNet, so that layers
    which the checkpoint lacks would be left as torch creates them, and warns about each.

    Args:
        init_cfg: One initializer, a list of them or None.

    Returns:
        The other initializers (None if there are none, which means the defaults), and the
        arguments of the ``Pretrained`` one without its type (None if there is none).

    Raises:
        ValueError: If there are several ``Pretrained`` initializers, or one without a checkpoint.
    """
    initializers = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [c for c in initializers if c['type'] in ('Pretrained', PretrainedInit)]
    if len(pretrained) > 1:
        raise ValueError(f"init_cfg takes one initializer of type 'Pretrained', got {pretrained}.")
    others = [c for c in initializers if c not in pretrained]
    if not pretrained:
        return init_cfg, None
    arguments = {key: value for key, value in pretrained[0].items() if key != 'type'}
    checkpoint = arguments.get('checkpoint')
    if not isinstance(checkpoint, str) or not checkpoint:
        raise ValueError(
            "init_cfg of type 'Pretrained' must have a checkpoint, a path or URL, got "
            f'{checkpoint!r}.'
        )
    return others or None, arguments


def load_pretrained_backbone(
    backbone: nn.Module,
    replaced_layers: Sequence[str],
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = 'cpu',
    added_parts: Sequence[str] = (),
) -> WeightReport:
    """Load a checkpoint of the backbone itself, or of the ResNet that it extends.

    A ResNet checkpoint can have layers with the names of ``replaced_layers``, but other shapes:
    torchvision's ``layer4`` has 2048 channels, DetNet's 1024. A checkpoint with the last of these
    layers counts as the backbone's own; in others, they are neither loaded nor expected. Each of
    ``added_parts`` is expected if the checkpoint has any of its keys. The log says what was loaded
    and warns only about surprises.

    Args:
        backbone: The network, already initialized.
        replaced_layers: Names of the layers that differ from ResNet's, in order; no ResNet has a
            layer with the last name.
        checkpoint: Path, URL or ``torchvision://`` name. No code in the file is executed.
        prefix: Prefix of the backbone's keys in the checkpoint. If None, ``backbone.`` (models of
            mmdet and mmpretrain) is detected.
        map_location: Device to load the checkpoint on.
        added_parts: Names of layers and modules that ResNet does not have.

    Returns:
        What happened to each tensor.

    Raises:
        FileNotFoundError: If ``checkpoint`` is a path and the file does not exist.
        ValueError: If a tensor's shape differs from the backbone's, or no tensor fits.
    """
    name = type(backbone).__name__
    state = _read_state_dict(checkpoint, map_location, name)
    if any(DETNET_PYTORCH_SHORTCUT in key for key in state):
        raise ValueError(
            f'{name}: {checkpoint} has the layer names of guoruoqian/DetNet_pytorch; convert it '
            'with tools/convert_weights.py first.'
        )
    prefix = _find_prefix(state) if prefix is None else prefix
    weights = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    new = _absent_parts(weights, replaced_layers, added_parts)
    report = _compare(backbone, weights, new, source=checkpoint)
    report.dropped += [key for key in state if not key.startswith(prefix)]
    if not report.loaded:
        raise ValueError(
            f'{name}: {checkpoint} has no weight of this backbone under the prefix {prefix!r}; '
            f'its keys begin with {sorted({key.split(".")[0] for key in state})}.'
        )
    backbone.load_state_dict({key: weights[key] for key in report.loaded}, strict=False)
    level = logging.WARNING if report.surprises() else logging.INFO
    print_log(f'{name}: {report}', logger='current', level=level)
    return report


def _read_state_dict(checkpoint: str, map_location: str, name: str) -> Mapping[str, Tensor]:
    if '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f'{name}: the checkpoint {checkpoint!r} of init_cfg does not exist. To start from a '
            "ResNet instead, set it to 'torchvision://resnet50' (or resnet101); the README in the "
            "config's folder lists other requirements and weights."
        )
    content = CheckpointLoader.load_checkpoint(
        _without_torchvision(checkpoint), map_location, logger='current'
    )
    state = content.get('state_dict', content)
    return {key.removeprefix(WRAPPER_PREFIX): value for key, value in state.items()}


def _without_torchvision(checkpoint: str) -> str:
    """Resolve ``torchvision://`` with mmengine's own table if torchvision is not installed."""
    if not checkpoint.startswith(TORCHVISION_SCHEME) or find_spec('torchvision'):
        return checkpoint
    urls = mmengine.load(Path(mmengine.__path__[0], 'hub', 'torchvision_0.12.json'))
    model = checkpoint[len(TORCHVISION_SCHEME) :]
    if model not in urls:
        raise ValueError(f'{checkpoint}: without torchvision, use one of {sorted(urls)}.')
    return urls[model]


def _find_prefix(state: Mapping[str, Tensor]) -> str:
    return BACKBONE_PREFIX if any(key.startswith(BACKBONE_PREFIX) for key in state) else ''


def _absent_parts(
    weights: Mapping[str, Tensor], replaced_layers: Sequence[str], added_parts: Sequence[str]
) -> tuple[str, ...]:
    """List the prefixes of what this kind of checkpoint cannot fill."""
    parts = [part for part in added_parts if not _has_part(weights, part)]
    if replaced_layers and not _has_part(weights, replaced_layers[-1]):
        parts += replaced_layers
    return tuple(f'{part}.' for part in parts)


def _has_part(weights: Mapping[str, Tensor], part: str) -> bool:
    return any(key.startswith(f'{part}.') for key in weights)


def _compare(
    backbone: nn.Module, weights: Mapping[str, Tensor], new: tuple[str, ...], source: str
) -> WeightReport:
    """Sort the keys of both sides; shared keys must have the same shape."""
    report = WeightReport(source)
    own = backbone.state_dict()
    for key, value in weights.items():
        if key.startswith(CLASSIFIER_PREFIXES + new):
            report.dropped.append(key)
        elif key not in own:
            report.unexpected.append(key)
        elif value.shape != own[key].shape:
            raise ValueError(
                f'{type(backbone).__name__}: {key} has shape {tuple(value.shape)} in {source}, '
                f'but {tuple(own[key].shape)} in this backbone.'
            )
        else:
            report.loaded.append(key)
    loaded = set(report.loaded)
    absent = [key for key in own if key not in loaded]
    report.initialized = [key for key in absent if key.startswith(new)]
    # Checkpoints from before torch 0.4.1 lack this counter; it is not needed.
    report.missing = [
        key for key in absent if not key.startswith(new) and not key.endswith('num_batches_tracked')
    ]
    return report

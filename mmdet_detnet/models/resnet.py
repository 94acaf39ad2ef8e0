"""What DetNet and IPG-Net share: more stages than mmdet's ResNet, and a start from its weights."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

import mmdet_detnet.checkpoints  # noqa: F401  has mmengine load files as data
from mmdet_detnet.arguments import (
    check_choice,
    check_flags,
    check_indices,
    check_positive_integer,
    reject,
)

NUM_RESNET_STAGES = 4
# Boolean arguments of ResNet.
FLAGS = ('avg_down', 'deep_stem', 'norm_eval', 'with_cp')
BACKBONE_PREFIX = 'backbone.'
# Names of the classifier in torchvision and mmpretrain.
CLASSIFIER_PREFIXES = ('fc.', 'head.')
# Prefix of networks that were saved from inside a distributed wrapper.
WRAPPER_PREFIX = 'module.'
# Name of the projection shortcuts in guoruoqian/DetNet_pytorch, whose files must be converted.
DETNET_PYTORCH_SHORTCUT = '.extra_conv.'


class ResNetExtension(ResNet):
    """Mixin for mmdet's ResNet and its subclasses: additional stages and pretrained weights.

    List it before ResNet among the bases.

    Args:
        zero_init_residual: Whether the last normalization of each block starts at zero. With
            ``requires_grad=False`` in ``norm_cfg`` it still starts at one: an untrained zero would
            block all gradients of the block.
        init_cfg: Initialization; Kaiming if None. ``dict(type='Pretrained', checkpoint=...)`` also
            loads a checkpoint, see :func:`load_pretrained_backbone`.
        **kwargs: The other arguments of the ResNet, as keywords.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Attributes:
        replaced_layers: Names of layers that differ from ResNet's layers of the same name, in
            order; no ResNet has a layer with the last name.
        added_parts: Names of layers and modules that ResNet does not have.
    """

    replaced_layers: tuple[str, ...] = ()
    # Attributes of ResNet.
    inplanes: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def __init__(
        self,
        *,
        base_channels: int = 64,
        style: str = 'pytorch',
        norm_cfg: ConfigType = dict(type='BN', requires_grad=True),  # noqa: B006
        zero_init_residual: bool = True,
        init_cfg: OptMultiConfig = None,
        **kwargs: Any,
    ) -> None:
        check_positive_integer(self, 'base_channels', base_channels)
        check_choice(self, 'style', style, ('pytorch', 'caffe'))
        flags = {name: kwargs[name] for name in FLAGS if name in kwargs}
        check_flags(self, zero_init_residual=zero_init_residual, **flags)
        # ResNet drops its own initialization where it sees a 'Pretrained' one, and layers that the
        # checkpoint lacks would stay as torch creates them.
        others, pretrained_cfg = split_pretrained(init_cfg)
        super().__init__(
            base_channels=base_channels,
            style=style,
            norm_cfg=norm_cfg,
            zero_init_residual=zero_init_residual and norm_cfg.get('requires_grad', True),
            init_cfg=others,
            **kwargs,
        )
        self.pretrained_cfg = pretrained_cfg
        self.added_parts: list[str] = []

    def append_stage(
        self,
        planes: int,
        num_blocks: int,
        stride: int = 1,
        dilation: int = 1,
        dcn: OptConfigType = None,
        plugins: list[dict] | None = None,
    ) -> ResLayer:
        """Append a stage with the settings of the others, and ``planes`` as the inner width."""
        stage = self.make_res_layer(
            block=self.block,
            inplanes=self.inplanes,
            planes=planes,
            num_blocks=num_blocks,
            stride=stride,
            dilation=dilation,
            style=self.style,
            avg_down=self.avg_down,
            with_cp=self.with_cp,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            dcn=dcn,
            plugins=plugins,
            init_cfg=self.block_init_cfg,
        )
        self.inplanes = planes * self.block.expansion
        self.strides = (*self.strides, stride)
        self.dilations = (*self.dilations, dilation)
        name = f'layer{len(self.res_layers) + 1}'
        self.add_module(name, stage)
        self.res_layers.append(name)
        return stage

    @property
    def block_init_cfg(self) -> OptConfigType:
        """Initialization that ResNet uses for its blocks."""
        return self.layer1[0].init_cfg

    def train(self, mode: bool = True) -> nn.Module:
        """Set the training mode and return the network; mmdet's ResNet returns None."""
        super().train(mode)
        return self

    def init_weights(self) -> None:
        """Initialize all layers, then load the checkpoint of ``init_cfg``, if any."""
        first_call = not self.is_init
        super().init_weights()
        if self.pretrained_cfg and first_call:
            load_pretrained_backbone(self, **self.pretrained_cfg)


def check_stages(
    owner: nn.Module, num_stages: int, out_indices: Sequence[int], frozen_stages: int
) -> None:
    """Raise ValueError unless the returned and the frozen stages exist, and all stages learn."""
    check_choice(owner, 'frozen_stages', frozen_stages, range(-1, num_stages + 1))
    check_indices(owner, 'out_indices', out_indices, range(num_stages))
    if not out_indices:
        reject(owner, 'out_indices', out_indices, 'at least one stage')
    if num_stages > NUM_RESNET_STAGES and out_indices[-1] != num_stages - 1:
        allowed = f'up to {num_stages - 1}, because a stage after the last output never learns'
        reject(owner, 'out_indices', out_indices, allowed)


def check_stage_options(
    owner: nn.Module,
    num_stages: int,
    stage_with_dcn: Sequence[bool],
    dcn: OptConfigType,
    plugins: list[dict] | None,
) -> None:
    """Raise ValueError unless each optional layer has one flag per stage and has an effect."""
    is_list = isinstance(stage_with_dcn, (list, tuple))
    if not is_list or [isinstance(flag, bool) for flag in stage_with_dcn] != [True] * num_stages:
        reject(owner, 'stage_with_dcn', stage_with_dcn, f'{num_stages} flags')
    if dcn and not any(stage_with_dcn):
        reject(owner, 'stage_with_dcn', stage_with_dcn, 'True for at least one stage with dcn')
    if any(stage_with_dcn) and not dcn:
        reject(owner, 'dcn', dcn, 'given with stage_with_dcn')
    for plugin in plugins or []:
        stages = plugin.get('stages')
        if stages is not None and len(stages) != num_stages:
            reject(owner, "plugins' stages", stages, f'{num_stages} flags')


def split_pretrained(init_cfg: OptMultiConfig) -> tuple[OptMultiConfig, dict | None]:
    """Separate the 'Pretrained' initializer of an ``init_cfg`` from the others.

    Returns:
        The others (None for ResNet's own), and the arguments of the 'Pretrained' one, or None.

    Raises:
        ValueError: If there are several 'Pretrained' initializers, or one without a checkpoint.
    """
    initializers = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [c for c in initializers if c['type'] in ('Pretrained', PretrainedInit)]
    if not pretrained:
        return init_cfg, None
    if len(pretrained) > 1:
        raise ValueError(f"init_cfg takes one initializer of type 'Pretrained', got {pretrained}.")
    arguments = {key: value for key, value in pretrained[0].items() if key != 'type'}
    checkpoint = arguments.get('checkpoint')
    if not isinstance(checkpoint, str) or not checkpoint:
        raise ValueError(
            "init_cfg of type 'Pretrained' must have a checkpoint, a path or URL, got "
            f'{checkpoint!r}.'
        )
    return [c for c in initializers if c not in pretrained] or None, arguments


@dataclass
class WeightReport:
    """Keys of a network and of a file of weights, by what happened to them.

    ``loaded``, ``initialized`` (as expected) and ``missing`` are keys of the network, ``dropped``
    (as expected) and ``unexpected`` keys of the file.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    initialized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'weights from {self.source}']
        for title, keys in (
            ('loaded', self.loaded),
            ('keep their initialization', self.initialized),
            ('in the file but not used', self.dropped),
        ):
            parts = Counter(key.split('.')[0] for key in keys)
            counts = ', '.join(f'{part} ({count})' for part, count in parts.items())
            lines += [f'  {title}: {counts}'] if parts else []
        return '\n'.join(lines + self.surprises())

    def surprises(self) -> list[str]:
        """Describe missing and unexpected keys, each in full; empty if there are none."""
        kinds = {'MISSING from the file': self.missing, 'UNEXPECTED in the file': self.unexpected}
        return [f'  {kind}: {", ".join(keys)}' for kind, keys in kinds.items() if keys]


def load_pretrained_backbone(
    backbone: ResNetExtension,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = 'cpu',
) -> WeightReport:
    """Load a checkpoint of the backbone itself, or of the ResNet that it extends.

    A ResNet checkpoint can have layers with the names of ``replaced_layers``, but other shapes:
    torchvision's ``layer4`` has 2048 channels, DetNet's 1024. A checkpoint with the last of these
    layers counts as the backbone's own; in others, they are neither loaded nor expected. Each of
    ``added_parts`` is expected if the checkpoint has any of its keys. The log says what was loaded
    and warns only about surprises.

    Args:
        backbone: The network, already initialized.
        checkpoint: Path, URL or ``torchvision://`` name. No code in the file is executed.
        prefix: Prefix of the backbone's keys in the checkpoint, with or without its dot. If None,
            ``backbone.`` (models of mmdet and mmpretrain) is detected.
        map_location: Device to load the checkpoint on.

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
    if prefix is None:
        has_prefix = any(key.startswith(BACKBONE_PREFIX) for key in state)
        prefix = BACKBONE_PREFIX if has_prefix else ''
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    weights = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    report = _compare(backbone, weights, source=checkpoint)
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
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location, logger='current')
    state = content.get('state_dict', content)
    return {key.removeprefix(WRAPPER_PREFIX): value for key, value in state.items()}


def _compare(backbone: ResNetExtension, weights: Mapping[str, Tensor], source: str) -> WeightReport:
    """Sort the keys of both sides; shared keys must have the same shape."""
    report = WeightReport(source)
    own = backbone.state_dict()
    new = _parts_without_weights(backbone, weights)
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
    absent = [key for key in own if key not in set(report.loaded)]
    report.initialized = [key for key in absent if key.startswith(new)]
    # Checkpoints from before torch 0.4.1 lack this counter; it is not needed.
    report.missing = [
        key for key in absent if not key.startswith(new) and not key.endswith('num_batches_tracked')
    ]
    return report


def _parts_without_weights(
    backbone: ResNetExtension, weights: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """List the prefixes of what this kind of checkpoint cannot fill."""

    def is_absent(part: str) -> bool:
        return not any(key.startswith(f'{part}.') for key in weights)

    parts = [part for part in backbone.added_parts if is_absent(part)]
    if backbone.replaced_layers and is_absent(backbone.replaced_layers[-1]):
        parts += backbone.replaced_layers
    return tuple(f'{part}.' for part in parts)

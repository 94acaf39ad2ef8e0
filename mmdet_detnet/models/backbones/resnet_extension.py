"""Common base of backbones that add stages or modules to mmdet's ResNet."""

from typing import Any

from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import nn

from mmdet_detnet.models.arguments import check_choice, check_flags, check_positive_integer

from .pretrained import load_pretrained_backbone, split_pretrained

# Boolean arguments of ResNet.
FLAGS = ('avg_down', 'deep_stem', 'norm_eval', 'with_cp')


class ResNetExtension(ResNet):
    """Mixin for mmdet's ResNet and its subclasses: additional stages and pretrained weights.

    List it before ResNet among the bases.

    Args:
        base_channels: Width of the first stage's bottlenecks; the others scale with it.
        style: 'pytorch' puts the stride of a bottleneck in its 3x3 convolution, 'caffe' in its
            first 1x1 convolution.
        norm_cfg: Config of the normalization layers.
        zero_init_residual: Whether the last normalization of each block starts at zero. With
            ``requires_grad=False`` in ``norm_cfg`` it still starts at one: an untrained zero would
            block all gradients of the block.
        init_cfg: Initialization; Kaiming if None. ``dict(type='Pretrained', checkpoint=...)`` also
            loads a checkpoint, see :func:`.load_pretrained_backbone`.
        **kwargs: The other arguments of the ResNet, as keywords.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Attributes:
        replaced_layers: Names of layers that differ from ResNet's layers of the same name.
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
        """Append a stage with the settings of the others.

        Args:
            planes: Width inside the bottlenecks; the output is four times as wide.
            num_blocks: Number of bottlenecks.
            stride: Stride of the first bottleneck.
            dilation: Dilation of all 3x3 convolutions.
            dcn: Config of the deformable convolution that replaces them, or None.
            plugins: Plugin layers of the blocks, as mmdet's ``make_stage_plugins`` returns them.

        Returns:
            The stage, already registered in the network.
        """
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
        """Set the training mode; frozen parts stay in evaluation mode.

        Args:
            mode: Whether to train (True) or evaluate (False).

        Returns:
            The network, as in torch; mmdet's ResNet returns None.
        """
        super().train(mode)
        return self

    def init_weights(self) -> None:
        """Initialize all layers, then load the checkpoint of ``init_cfg``, if any."""
        first_call = not self.is_init
        super().init_weights()
        if self.pretrained_cfg and first_call:
            load_pretrained_backbone(
                self,
                replaced_layers=self.replaced_layers,
                added_parts=self.added_parts,
                **self.pretrained_cfg,
            )

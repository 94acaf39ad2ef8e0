"""IPG-Net, a ResNet that sees smaller copies of its input image in its deep stages.

Paper: IPG-Net: Image Pyramid Guidance Network for Small Object Detection,
https://arxiv.org/abs/1912.00632. The paper links no code. Details that it leaves open (batch norm,
width of the bottleneck, last ReLU) follow the first author's public experiment log
(ziming-liu/ObjectDet), which partly differs from the paper, or ResNet, as noted at the arguments.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmdet.models.backbones import ResNet, ResNeXt
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import ResLayer
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule, ModuleDict, Sequential
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmdet_detnet.arguments import (
    check_choice,
    check_flags,
    check_indices,
    check_positive_integer,
    reject,
)
from mmdet_detnet.registry import MODELS

from .detnet import DetNet
from .resnet import NUM_RESNET_STAGES, ResNetExtension, check_stage_options, check_stages

GUIDED_STAGES = (1, 2, 3, 4)
MAX_STAGES = 7
BLOCKS_OF_EXTRA_STAGE = 2
# Strides and dilations of stages 5, 6 and 7, in the authors' code.
EXTRA_STRIDES, EXTRA_DILATIONS = (2, 2, 1), (1, 1, 2)
KEPT_STRIDES, KEPT_DILATIONS = (1, 1, 1), (2, 2, 2)


def shrink_image(image: Tensor, factor: int, interpolation: str = 'bilinear') -> Tensor:
    """Make one level of the image pyramid, directly from the image (section 3.3).

    Returns:
        The level, of shape (N, C, ceil(H / factor), ceil(W / factor)); for 1, the image itself.
    """
    if factor == 1:
        return image
    # Rounded up, as by ResNet's strides, so that the features match the stage's in size.
    height, width = image.shape[-2], image.shape[-1]
    size = ((height + factor - 1) // factor, (width + factor - 1) // factor)
    align_corners = False if interpolation == 'bilinear' else None
    return F.interpolate(image, size=size, mode=interpolation, align_corners=align_corners)


class ImagePyramidTransformation(BaseModule):
    """IPG transformation module (section 3.4): ResNet's stem and one bottleneck, of stride 4."""

    def __init__(
        self,
        planes: int,  # width inside the bottleneck; the output is four times as wide
        in_channels: int = 3,
        stem_channels: int = 64,
        share_stem: bool = False,  # whether each call passes the stem of another module
        # Whether the output starts at zero, through a learned per-channel scale.
        zero_init: bool = False,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
        # Initialization of the bottleneck, in addition to the network's.
        block_init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__()
        layers = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        if not share_stem:
            self.stem = Sequential(
                ConvModule(
                    in_channels, stem_channels, 7, stride=2, padding=3, bias=False, **layers
                ),
                nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            )
        self.bottleneck = ResLayer(
            Bottleneck, stem_channels, planes, num_blocks=1, init_cfg=block_init_cfg, **layers
        )
        out_channels = planes * Bottleneck.expansion
        # The norms could not start at zero: with both addends of the bottleneck at zero, its last
        # ReLU would never pass a gradient.
        self.scale = nn.Parameter(torch.zeros(out_channels, 1, 1)) if zero_init else None

    def forward(self, image: Tensor, stem: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Compute the features of a pyramid level; ``stem`` is the shared one, None for its own."""
        stem = self.stem if stem is None else stem
        features = stem(image)  # (N, stem_channels, ceil(H / 4), ceil(W / 4))
        features = self.bottleneck(features)  # (N, 4 * planes, ceil(H / 4), ceil(W / 4))
        return features if self.scale is None else features * self.scale


class AddFusion(BaseModule):
    """``O = F + R``, without weights, as in the final version of the authors' code.

    In all fusions (section 3.5, equations 2 to 4 and Fig. 3), F are the features of the image, R
    those of the stage, O is the result, and each W is a linear transformation: a convolution
    without bias and a normalization layer. The paper's CT adjusts the width of F; here, F already
    has the width of R.
    """

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse F and R, of shape (N, C, h, w) each, to O of the same shape."""
        return image_features + features


class WeightedFusion(BaseModule):
    """Base of the fusions with weights Ws and Wm, which transform F and R."""

    def __init__(
        self,
        channels: int,  # number of channels of F, R and O
        kernel_size: int = 3,  # kernel size of Ws and Wm, odd
        with_relu: bool = False,  # whether each W ends in a ReLU
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
    ) -> None:
        super().__init__()
        act_cfg = dict(type='ReLU') if with_relu else None
        self.layers = dict(bias=False, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.image_transform = self._make_transform(channels, channels, kernel_size)
        self.stage_transform = self._make_transform(channels, channels, kernel_size)
        self._add_output_layers(channels, kernel_size)

    def _add_output_layers(self, channels: int, kernel_size: int) -> None:
        raise NotImplementedError

    def _make_transform(self, in_channels: int, out_channels: int, kernel_size: int) -> ConvModule:
        """Build one W."""
        padding = kernel_size // 2
        return ConvModule(in_channels, out_channels, kernel_size, padding=padding, **self.layers)


class SumFusion(WeightedFusion):
    """``O = W(Ws F + Wm R)``, equation 2; W has the same kernel size."""

    def _add_output_layers(self, channels: int, kernel_size: int) -> None:
        self.out_transform = self._make_transform(channels, channels, kernel_size)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse F and R, of shape (N, C, h, w) each."""
        both = self.image_transform(image_features) + self.stage_transform(features)
        return self.out_transform(both)


class ProductFusion(WeightedFusion):
    """``O = LN((Ws F) * (Wm R) + R)``, equation 3; LN normalizes over the channels of each pixel.

    The residual is R, as in the paper; the authors' code adds Wm R.
    """

    def _add_output_layers(self, channels: int, kernel_size: int) -> None:
        self.layer_norm = nn.LayerNorm(channels)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse F and R, of shape (N, C, h, w) each."""
        product = self.image_transform(image_features) * self.stage_transform(features)
        channels_last = (product + features).permute(0, 2, 3, 1)
        return self.layer_norm(channels_last).permute(0, 3, 1, 2)


class ConcatFusion(WeightedFusion):
    """``O = W Cat(Ws F, Wm R)``, equation 4; W is a 1x1 convolution, as in Fig. 3."""

    def _add_output_layers(self, channels: int, kernel_size: int) -> None:
        self.out_transform = self._make_transform(2 * channels, channels, kernel_size=1)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse F and R, of shape (N, C, h, w) each."""
        both = [self.image_transform(image_features), self.stage_transform(features)]
        return self.out_transform(torch.cat(both, dim=1))


GUIDANCE_FUSIONS = {
    'add': AddFusion,
    'sum': SumFusion,
    'product': ProductFusion,
    'concat': ConcatFusion,
}


class StageGuidance(BaseModule):
    """Guidance of one stage of a backbone: shrunken image, transformation, fusion (Fig. 2)."""

    def __init__(
        self,
        # A quarter of the stage's stride: how many times smaller than the image the level is.
        shrink_factor: int,
        # Computes features of the stage's shape from the level.
        transformation: ImagePyramidTransformation,
        fusion: nn.Module,  # fuses them with the stage's features
        interpolation: str = 'bilinear',
        # Whether activations are recomputed in the backward pass, to save memory.
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.shrink_factor = shrink_factor
        self.transformation = transformation
        self.fusion = fusion
        self.interpolation = interpolation
        self.with_cp = with_cp

    def forward(
        self, image: Tensor, features: Tensor, stem: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Fuse the stage's output, of shape (N, C, h, w), with features of the shrunken image."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._guide, image, features, stem, use_reentrant=False)
        return self._guide(image, features, stem)

    def _guide(
        self, image: Tensor, features: Tensor, stem: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        level = shrink_image(image, self.shrink_factor, self.interpolation)  # (N, C, 4 h, 4 w)
        return self.fusion(self.transformation(level, stem), features)


class ImagePyramidGuided(ResNetExtension):
    """Mixin for ResNet-like backbones: fuses stages with features of the shrunken image.

    The fused output replaces the stage's: it feeds the next stage and is what the network returns.

    Args:
        fused_stages: Fused stages in increasing order, numbered as in the paper and in ``layer1``
            ... ``layer4``: stage 3 is ``layer3``, mmdet's index 2. The paper fuses 2, 3 and 4, and
            3 alone for its comparisons. Empty for the trunk alone.
        share_stem: Whether the shrunken images use the trunk's stem, as in the authors' code.
            Otherwise each fused stage has its own, as in the paper.
        guidance_stem_channels: Number of channels of these stems. None for the trunk's, 64 as in
            the authors' code. The paper says "usually 256".
        fusion: 'add' (addition without weights, as in the final version of the authors' code; it
            keeps pretrained activations) or the paper's 'sum', 'product' or 'concat'.
        fusion_kernel: Kernel size of the convolutions in 'sum', 'product' and 'concat', 3 (Fig. 3)
            or 1. With 3, 'sum' has six times the parameters of ResNet-50.
        fusion_relu: Whether these convolutions end in a ReLU, as in the authors' code.
        interpolation: How the image is shrunk, 'bilinear' (paper) or 'nearest' (authors' code).
        zero_init_guidance: Whether the network initially equals the trunk: each transformation then
            ends in a per-channel scale that starts at zero. Only for ``fusion='add'``; the others
            change the trunk's features.
        in_channels: Number of channels of the image.
        **kwargs: Arguments of the backbone, as keywords.
    """

    def __init__(
        self,
        *,
        fused_stages: Sequence[int] = (2, 3, 4),
        share_stem: bool = False,
        guidance_stem_channels: int | None = None,
        fusion: str = 'add',
        fusion_kernel: int = 3,
        fusion_relu: bool = False,
        interpolation: str = 'bilinear',
        zero_init_guidance: bool = False,
        in_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        check_indices(self, 'fused_stages', fused_stages, GUIDED_STAGES)
        check_choice(self, 'fusion', fusion, GUIDANCE_FUSIONS)
        check_choice(self, 'fusion_kernel', fusion_kernel, (1, 3))
        check_choice(self, 'interpolation', interpolation, ('bilinear', 'nearest'))
        check_flags(
            self,
            share_stem=share_stem,
            fusion_relu=fusion_relu,
            zero_init_guidance=zero_init_guidance,
        )
        check_positive_integer(self, 'in_channels', in_channels)
        if guidance_stem_channels is not None:
            check_positive_integer(self, 'guidance_stem_channels', guidance_stem_channels)
            if share_stem:
                allowed = "None with share_stem, the trunk's"
                reject(self, 'guidance_stem_channels', guidance_stem_channels, allowed)
        if zero_init_guidance and fusion != 'add':
            reject(self, 'zero_init_guidance', zero_init_guidance, f'False with {fusion=}')
        if fusion_relu and fusion == 'add':
            reject(self, 'fusion_relu', fusion_relu, "False with fusion='add', which has no layers")
        super().__init__(in_channels=in_channels, **kwargs)
        self.fused_stages = tuple(fused_stages)
        self.share_stem = share_stem
        self.guidance_stem_channels = guidance_stem_channels or self.stem_channels
        self.fusion = fusion
        self.fusion_kernel = fusion_kernel
        self.fusion_relu = fusion_relu
        self.interpolation = interpolation
        self.zero_init_guidance = zero_init_guidance
        self.in_channels = in_channels
        self.guidance = ModuleDict()
        for stage in fused_stages:
            self._add_guidance(stage_index=stage - 1)

    def _add_guidance(self, stage_index: int) -> None:
        """Build the guidance of one stage, with its width and the network's layer configs."""
        name = self.res_layers[stage_index]
        planes = getattr(self, name)[-1].planes
        layers = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg)
        transformation = ImagePyramidTransformation(
            planes,
            in_channels=self.in_channels,
            stem_channels=self.guidance_stem_channels,
            share_stem=self.share_stem,
            zero_init=self.zero_init_guidance,
            block_init_cfg=self.block_init_cfg,
            **layers,
        )
        fusion = (
            AddFusion()
            if self.fusion == 'add'
            else GUIDANCE_FUSIONS[self.fusion](
                planes * self.block.expansion, self.fusion_kernel, self.fusion_relu, **layers
            )
        )
        # Both stems have stride 4, so the image shrinks by the stride that the stages add.
        self.guidance[name] = StageGuidance(
            prod(self.strides[: stage_index + 1]),
            transformation,
            fusion,
            interpolation=self.interpolation,
            with_cp=self.with_cp,
        )
        self.added_parts.append(f'guidance.{name}')

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the stages in ``out_indices``, from an image of any size.

        They are of shape (N, C, ceil(H / stride), ceil(W / stride)), and fused if guided.
        """
        features = self._forward_stem(image)
        shared_stem = self._forward_stem if self.share_stem else None
        outputs = []
        for index, name in enumerate(self.res_layers):
            features = getattr(self, name)(features)
            if name in self.guidance:
                features = self.guidance[name](image, features, shared_stem)
            if index in self.out_indices:
                outputs.append(features)
        return tuple(outputs)

    def _forward_stem(self, image: Tensor) -> Tensor:
        if self.deep_stem:
            return self.maxpool(self.stem(image))
        return self.maxpool(self.relu(self.norm1(self.conv1(image))))


@MODELS.register_module()
class IPGNet(ImagePyramidGuided, ResNet):
    """IPG-Net-50 and IPG-Net-101: ResNet with image-pyramid guidance, and up to three more stages.

    For each fused stage, the input is shrunk to a quarter of the stage's stride, turned into
    features of the stage's shape by a stem and one bottleneck, and fused with the stage's output.
    The sizes agree for every height and width of the image.

    Stages are counted from 1 in ``fused_stages``, as in the paper, and from 0 in ``out_indices``,
    as in mmdet: the paper's stage 3 has index 2, stride 16 and 1024 channels.

    The trunk keeps ResNet's layer names, so ResNet checkpoints fit; ``guidance.layer3`` guides
    ``layer3``. ``norm_cfg`` and ``norm_eval`` also apply to the guidance. With ``norm_eval`` and
    ResNet weights, its batch norm has the statistics 0 and 1 and is a learned scale and shift; with
    ``requires_grad=False`` in ``norm_cfg`` it is the identity.

    Args:
        depth: 50 or 101.
        num_stages: 4 to 7. Stages from the fifth on have two bottlenecks of stage 4's width (2048
            channels outside, 512 inside) and no guidance.
        keep_stride: Whether stages from the fifth on stay at stride 32, with dilation 2; with seven
            stages, this is the paper's "7(keep)". Otherwise their strides are 64, 128 and 128.
        out_indices: Indices of the returned stages, in increasing order, from 0 to
            ``num_stages - 1``. With more than four stages, the last one is required.
        frozen_stages: Number of trunk stages that are frozen, together with the stem; -1 freezes
            nothing. The guidance is never frozen, except a shared stem; to freeze it, use
            ``custom_keys={'backbone.guidance': dict(lr_mult=0, decay_mult=0)}`` in
            ``paramwise_cfg``.
        base_channels: Width of the first stage's bottlenecks; the others scale with it.
        style: 'pytorch' puts the stride of a bottleneck in its 3x3 convolution, 'caffe' in its
            first 1x1 convolution.
        stage_with_dcn: For each of the first four stages, whether ``dcn`` applies to it.
        plugins: Plugin layers of the blocks, as in mmdet's ResNet; the ``stages`` of a plugin are
            four flags.
        init_cfg: Initialization; Kaiming if None. ``dict(type='Pretrained', checkpoint=...)`` also
            loads a checkpoint: all of an IPG-Net, or the trunk from a ResNet of torchvision, mmdet
            or mmpretrain.
        **kwargs: The arguments of :class:`.ImagePyramidGuided`, which describe the guidance, and
            the other arguments of mmdet's ResNet (``stem_channels``, ``deep_stem``, ``avg_down``,
            ``conv_cfg``, ``norm_cfg``, ``norm_eval``, ``dcn``, ``with_cp``, ...).

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Examples:
        >>> net = IPGNet(depth=50)
        >>> [tuple(c.shape) for c in net(torch.rand(1, 3, 200, 333))]
        [(1, 256, 50, 84), (1, 512, 25, 42), (1, 1024, 13, 21), (1, 2048, 7, 11)]
    """

    depths = (50, 101)

    def __init__(
        self,
        depth: int,
        num_stages: int = NUM_RESNET_STAGES,
        keep_stride: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        base_channels: int = 64,
        style: str = 'pytorch',
        stage_with_dcn: Sequence[bool] = (False,) * NUM_RESNET_STAGES,
        plugins: list[dict] | None = None,
        init_cfg: OptMultiConfig = None,
        **kwargs: Any,
    ) -> None:
        check_choice(self, 'depth', depth, self.depths)
        check_choice(self, 'num_stages', num_stages, range(NUM_RESNET_STAGES, MAX_STAGES + 1))
        check_flags(self, keep_stride=keep_stride)
        check_stages(self, num_stages, out_indices, frozen_stages)
        check_stage_options(self, NUM_RESNET_STAGES, stage_with_dcn, kwargs.get('dcn'), plugins)
        if keep_stride and num_stages == NUM_RESNET_STAGES:
            reject(self, 'keep_stride', keep_stride, f'False with {num_stages=}')
        super().__init__(
            depth=depth,
            out_indices=(0,),
            base_channels=base_channels,
            style=style,
            stage_with_dcn=tuple(stage_with_dcn),
            plugins=plugins,
            init_cfg=init_cfg,
            **kwargs,
        )
        # The parent supports at most four stages: it built these, the others are set here.
        self.num_stages = num_stages
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self._append_extra_stages(num_stages - NUM_RESNET_STAGES, keep_stride)
        self._freeze_stages()

    def _append_extra_stages(self, number: int, keep_stride: bool) -> None:
        strides, dilations = (
            (KEPT_STRIDES, KEPT_DILATIONS) if keep_stride else (EXTRA_STRIDES, EXTRA_DILATIONS)
        )
        for stride, dilation in list(zip(strides, dilations, strict=True))[:number]:
            self.append_stage(
                planes=self.inplanes // self.block.expansion,
                num_blocks=BLOCKS_OF_EXTRA_STAGE,
                stride=stride,
                dilation=dilation,
            )
            self.added_parts.append(self.res_layers[-1])


@MODELS.register_module()
class IPGResNeXt(IPGNet, ResNeXt):
    """IPG-Net with mmdet's ResNeXt as its trunk; the guidance keeps plain bottlenecks.

    Args:
        **kwargs: Arguments of :class:`IPGNet` and of ResNeXt: ``groups``, the number of groups of
            the trunk's 3x3 convolutions, and ``base_width``, the width of a group in the first
            stage's bottlenecks.
    """


@MODELS.register_module()
class IPGDetNet(ImagePyramidGuided, DetNet):
    """DetNet with image-pyramid guidance (in neither paper).

    Stages are counted as in IPG-Net, so ``fused_stages=(2, 3, 4)`` means ``layer2`` ... ``layer4``,
    DetNet's C3, C4 and C5. C5 has stride 16, so it gets the same level of the pyramid as C4.

    Args:
        **kwargs: Arguments of :class:`ImagePyramidGuided` and of :class:`DetNet`, as keywords.
    """

"""Mixin that guides a ResNet-like backbone with a pyramid of its input image.

Paper: https://arxiv.org/abs/1912.00632, section 3 and Fig. 1.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from mmdet_detnet.models.arguments import (
    check_choice,
    check_flags,
    check_indices,
    check_positive_integer,
    reject,
)
from mmdet_detnet.models.layers import (
    GUIDANCE_FUSIONS,
    AddFusion,
    ImagePyramidTransformation,
    StageGuidance,
)

from .resnet_extension import ResNetExtension

GUIDED_STAGES = (1, 2, 3, 4)


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

    Raises:
        ValueError: If an argument has a value that is not allowed.
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
        self._check_stem(share_stem, guidance_stem_channels)
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

    def _check_stem(self, share_stem: bool, channels: int | None) -> None:
        if channels is None:
            return
        if share_stem:
            reject(self, 'guidance_stem_channels', channels, "None with share_stem, the trunk's")
        check_positive_integer(self, 'guidance_stem_channels', channels)

    def _add_guidance(self, stage_index: int) -> None:
        """Build the guidance of one stage, with its width and the network's layer configs."""
        name = self.res_layers[stage_index]
        planes = getattr(self, name)[-1].planes
        transformation = ImagePyramidTransformation(
            planes,
            in_channels=self.in_channels,
            stem_channels=self.guidance_stem_channels,
            share_stem=self.share_stem,
            zero_init=self.zero_init_guidance,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            block_init_cfg=self.block_init_cfg,
        )
        # Both stems have stride 4, so the image shrinks by the stride that the stages add.
        self.guidance[name] = StageGuidance(
            prod(self.strides[: stage_index + 1]),
            transformation,
            self._make_fusion(planes * self.block.expansion),
            interpolation=self.interpolation,
            with_cp=self.with_cp,
        )
        self.added_parts.append(f'guidance.{name}')

    def _make_fusion(self, channels: int) -> BaseModule:
        if self.fusion == 'add':
            return AddFusion()
        return GUIDANCE_FUSIONS[self.fusion](
            channels,
            self.fusion_kernel,
            with_relu=self.fusion_relu,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            image: Normalized batch of shape (N, in_channels, H, W), of any size.

        Returns:
            The outputs of the stages in ``out_indices``, fused if the stage is guided, each of
            shape (N, C, ceil(H / stride), ceil(W / stride)).
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

"""Image-pyramid guidance of one backbone stage: shrunken image, transformation, fusion.

Paper: IPG-Net: Image Pyramid Guidance Network for Small Object Detection,
https://arxiv.org/abs/1912.00632, sections 3.3 to 3.5, Figs. 1 and 2. Details that the paper leaves
open (batch norm, width of the bottleneck, last ReLU) follow ResNet, as in the first author's
experiment log (ziming-liu/ObjectDet), which partly differs from the paper.
"""

from collections.abc import Callable

import torch
from mmcv.cnn import ConvModule
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import ResLayer
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def shrink_image(image: Tensor, factor: int, interpolation: str = 'bilinear') -> Tensor:
    """Make one level of the image pyramid, directly from the image.

    Sizes are rounded up, as by ResNet's strides, so the features of the shrunken image always match
    the stage's in size.

    Args:
        image: Batch of shape (N, C, H, W).
        factor: How many times smaller the level is; 1 is the image itself.
        interpolation: 'bilinear' (without antialiasing) or 'nearest'.

    Returns:
        The level, of shape (N, C, ceil(H / factor), ceil(W / factor)).
    """
    if factor == 1:
        return image
    height, width = image.shape[-2], image.shape[-1]
    size = ((height + factor - 1) // factor, (width + factor - 1) // factor)
    align_corners = False if interpolation == 'bilinear' else None
    return F.interpolate(image, size=size, mode=interpolation, align_corners=align_corners)


class ImagePyramidTransformation(BaseModule):
    """IPG transformation module: ResNet's stem and one bottleneck, with stride 4 in all.

    Args:
        planes: Width inside the bottleneck; the output is four times as wide.
        in_channels: Number of channels of the image.
        stem_channels: Number of channels of the stem.
        share_stem: Whether each call passes the stem of another module.
        zero_init: Whether the output starts at zero, through a learned per-channel scale as last
            layer. The norm layers cannot do this: with both addends of the bottleneck at zero, its
            last ReLU would never pass a gradient.
        conv_cfg: Config of the convolutions; plain ones if None.
        norm_cfg: Config of the normalization layers.
        block_init_cfg: Initialization of the bottleneck, in addition to the network's.
    """

    def __init__(
        self,
        planes: int,
        in_channels: int = 3,
        stem_channels: int = 64,
        share_stem: bool = False,
        zero_init: bool = False,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
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
        self.scale = nn.Parameter(torch.zeros(out_channels, 1, 1)) if zero_init else None

    def forward(self, image: Tensor, stem: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Compute the features of a pyramid level.

        Args:
            image: The level, of shape (N, in_channels, H, W).
            stem: The shared stem; None to use its own.

        Returns:
            Features of shape (N, 4 * planes, ceil(H / 4), ceil(W / 4)).
        """
        stem = self.stem if stem is None else stem
        features = self.bottleneck(stem(image))
        return features if self.scale is None else features * self.scale


class StageGuidance(BaseModule):
    """Guidance of one stage of a backbone.

    Args:
        shrink_factor: How many times smaller than the image the pyramid level is: a quarter of the
            stage's stride.
        transformation: Module that computes features of the stage's shape from the level.
        fusion: Module that fuses them with the stage's features, see :mod:`.guidance_fusion`.
        interpolation: How the image is shrunk, 'bilinear' or 'nearest'.
        with_cp: Whether activations are recomputed in the backward pass, to save memory.
    """

    def __init__(
        self,
        shrink_factor: int,
        transformation: ImagePyramidTransformation,
        fusion: nn.Module,
        interpolation: str = 'bilinear',
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
        """Fuse the stage's features with those of the shrunken image.

        Args:
            image: The backbone's input, of shape (N, in_channels, H, W).
            features: The stage's output, of shape (N, C, h, w).
            stem: The shared stem; None if the transformation has its own.

        Returns:
            The new output of the stage, of the same shape.
        """
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._guide, image, features, stem, use_reentrant=False)
        return self._guide(image, features, stem)

    def _guide(
        self, image: Tensor, features: Tensor, stem: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        level = shrink_image(image, self.shrink_factor, self.interpolation)
        return self.fusion(self.transformation(level, stem), features)

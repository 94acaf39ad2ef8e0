"""Fusion modules of IPG-Net, which combine a stage's features with those of the shrunken image.

Paper: https://arxiv.org/abs/1912.00632, section 3.5, equations 2 to 4 and Fig. 3. There, F are the
features of the image, R those of the stage, O is the result, and each W is a linear transformation,
here a convolution without bias and a normalization layer. The paper's CT adjusts the width of F;
here, F already has the width of R.
"""

from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseModule
from torch import Tensor, nn


class AddFusion(BaseModule):
    """``O = F + R``, without weights, as in the final version of the authors' code."""

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse two maps of the same shape.

        Args:
            image_features: F, the features of the shrunken image, of shape (N, C, h, w).
            features: R, the features of the stage, of the same shape.

        Returns:
            O, of the same shape.
        """
        return image_features + features


class WeightedFusion(BaseModule):
    """Base of the fusions with weights Ws and Wm, which transform F and R.

    Args:
        channels: Number of channels of F, R and O.
        kernel_size: Kernel size of Ws and Wm, odd; 3 in Fig. 3.
        with_relu: Whether each W ends in a ReLU, as in the authors' code.
        conv_cfg: Config of the convolutions; plain ones if None.
        norm_cfg: Config of the normalization layers.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        with_relu: bool = False,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
    ) -> None:
        super().__init__()
        self.act_cfg = dict(type='ReLU') if with_relu else None
        self.conv_cfg = conv_cfg
        self.norm_cfg = norm_cfg
        self.image_transform = self._make_transform(channels, channels, kernel_size)
        self.stage_transform = self._make_transform(channels, channels, kernel_size)

    def _make_transform(self, in_channels: int, out_channels: int, kernel_size: int) -> ConvModule:
        """Build one W."""
        return ConvModule(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            bias=False,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )


class SumFusion(WeightedFusion):
    """``O = W(Ws F + Wm R)``, equation 2; W has the same kernel size.

    Arguments as in :class:`WeightedFusion`.
    """

    def __init__(self, channels: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(channels, kernel_size, **kwargs)
        self.out_transform = self._make_transform(channels, channels, kernel_size)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse two maps of the same shape, see :meth:`AddFusion.forward`."""
        both = self.image_transform(image_features) + self.stage_transform(features)
        return self.out_transform(both)


class ProductFusion(WeightedFusion):
    """``O = LN((Ws F) * (Wm R) + R)``, equation 3; LN normalizes over the channels of each pixel.

    The residual is R, as in the paper; the authors' code adds Wm R. Arguments as in
    :class:`WeightedFusion`.
    """

    def __init__(self, channels: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(channels, kernel_size, **kwargs)
        self.layer_norm = nn.LayerNorm(channels)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse two maps of the same shape, see :meth:`AddFusion.forward`."""
        product = self.image_transform(image_features) * self.stage_transform(features)
        channels_last = (product + features).permute(0, 2, 3, 1)
        return self.layer_norm(channels_last).permute(0, 3, 1, 2)


class ConcatFusion(WeightedFusion):
    """``O = W Cat(Ws F, Wm R)``, equation 4; W is a 1x1 convolution, as in Fig. 3.

    Arguments as in :class:`WeightedFusion`.
    """

    def __init__(self, channels: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(channels, kernel_size, **kwargs)
        self.out_transform = self._make_transform(2 * channels, channels, kernel_size=1)

    def forward(self, image_features: Tensor, features: Tensor) -> Tensor:
        """Fuse two maps of the same shape, see :meth:`AddFusion.forward`."""
        both = [self.image_transform(image_features), self.stage_transform(features)]
        return self.out_transform(torch.cat(both, dim=1))


GUIDANCE_FUSIONS = {
    'add': AddFusion,
    'sum': SumFusion,
    'product': ProductFusion,
    'concat': ConcatFusion,
}

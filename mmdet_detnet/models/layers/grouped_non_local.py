"""The non-local block of Double-Head R-CNN's conv-head.

Paper: https://arxiv.org/abs/1904.06493, the variant with attention. Layout and initialization
follow ``NONLocalBlock2D_Group`` in the authors' code, https://github.com/wuyuebupt/doubleheadsrcnn
(commit a744b41). mmcv's ``NonLocal2d`` has no groups, no final ReLU, and no bias in the convolution
before the last normalization.
"""

import torch
from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseModule, constant_init
from torch import Tensor

from mmdet_detnet.models.arguments import reject

# Channels of the embeddings, as a fraction of the input's.
REDUCTION = 2


class GroupedNonLocal(BaseModule):
    """Add to each position of a map a weighted sum over all positions, separately for each group.

    The result is ``relu(x + norm(W y))``, where in each group of channels ``y`` at position i is
    ``sum_j (theta_i . phi_j) g_j / N`` over all N positions j, without a softmax. W starts at zero,
    so the block is initially the identity on non-negative features.

    Args:
        in_channels: Number of channels of the features; the embeddings have half of them.
        groups: Number of groups that the embeddings are split into; adds no parameters.
        conv_cfg: Config of the convolutions; plain ones if None.
        norm_cfg: Config of the normalization after W.

    Raises:
        ValueError: If the embeddings cannot be split into groups of equal size.
    """

    def __init__(
        self,
        in_channels: int,
        groups: int = 4,
        conv_cfg: OptConfigType = None,
        norm_cfg: ConfigType = dict(type='BN'),  # noqa: B006
    ) -> None:
        super().__init__()
        if in_channels % (REDUCTION * groups):
            reject(self, 'in_channels', in_channels, f'a multiple of {REDUCTION * groups}')
        self.groups = groups
        channels = in_channels // REDUCTION
        self.theta = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.phi = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.g = build_conv_layer(conv_cfg, in_channels, channels, kernel_size=1)
        self.out_conv = build_conv_layer(conv_cfg, channels, in_channels, kernel_size=1)
        self.out_norm = build_norm_layer(norm_cfg, in_channels)[1]
        constant_init(self.out_conv, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the positions of each map.

        Args:
            x: Features, of shape (N, in_channels, h, w).

        Returns:
            Features of the same shape.
        """
        theta, phi, g = (  # (N, groups, channels, h * w) each
            embed(x).unflatten(1, (self.groups, -1)).flatten(3)
            for embed in (self.theta, self.phi, self.g)
        )
        affinity = theta.transpose(-1, -2) @ phi / phi.shape[-1]  # (N, groups, h * w, h * w)
        y = (g @ affinity.transpose(-1, -2)).reshape(x.shape[0], -1, *x.shape[2:])
        return torch.relu(x + self.out_norm(self.out_conv(y)))

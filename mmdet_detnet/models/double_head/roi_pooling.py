"""MMDetection's RoI extractor with RoI coordinates in float32."""

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from mmdet_detnet.precision import widen
from mmdet_detnet.registry import MODELS


@MODELS.register_module()
class PreciseRoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` for mixed precision and several sizes of the same RoIs.

    RoIs stay in float32, and features of low precision are pooled in it: in float16, a corner at
    1000 pixels would be rounded to half a pixel. RoIs are also enlarged if there is only one
    feature level. This synchronizes with the GPU once, not once per level. In float32 and with
    several levels, the features equal those of ``SingleRoIExtractor``, whose arguments it has.
    """

    def forward(
        self,
        # Feature maps, the highest resolution first, each of shape (N, C, H, W).
        feats: tuple[Tensor, ...],
        rois: Tensor,  # index of the image and corners in pixels, of shape (num_rois, 5)
        # Factor for width and height of each RoI, about its center. It does not change the RoI's
        # level.
        roi_scale_factor: float | None = None,
    ) -> Tensor:
        """Pool RoIs.

        Returns:
            RoI features, of shape (num_rois, C, h, w).
        """
        rois = rois.float()
        groups = self._group_by_level(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        size = self.roi_layers[0].output_size
        pooled = feats[0].new_zeros(len(rois), self.out_channels, *size)
        for layer, feat, group in zip(self.roi_layers, feats, groups, strict=False):
            if len(group) > 0:
                pooled[group] = _pool_level(layer, feat, rois[group])
            else:
                # Keep each level in the graph, or distributed training would wait for it.
                pooled = pooled + zero_of(feat, *layer.parameters())
        return pooled

    def _group_by_level(self, rois: Tensor, num_levels: int) -> tuple[Tensor, ...]:
        """List the indices of the RoIs of each feature map."""
        if num_levels == 1:
            levels = torch.zeros(len(rois), dtype=torch.long, device=rois.device)
        else:
            levels = self.map_roi_levels(rois, num_levels)
        # A RoI with NaNs has no level; as in MMDetection, its features are zero.
        has_level = (levels >= 0) & (levels < num_levels)
        levels = levels.where(has_level, num_levels)
        sizes = torch.bincount(levels, minlength=num_levels + 1).tolist()
        return levels.argsort(stable=True).split(sizes)[:num_levels]


def zero_of(*tensors: Tensor) -> Tensor:
    """Make a zero that gives each tensor a gradient of zero, whatever its values are."""
    return torch.cat([tensor.flatten()[:0] for tensor in tensors]).sum()


def _pool_level(layer: nn.Module, feat: Tensor, rois: Tensor) -> Tensor:
    wide = widen(feat)
    return layer(wide, rois.to(wide.dtype)).to(feat.dtype)

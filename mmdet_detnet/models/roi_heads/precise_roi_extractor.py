"""MMDetection's RoI extractor with RoI coordinates in float32."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from torch import Tensor, nn


class PreciseRoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` for mixed precision and several sizes of the same RoIs.

    Levels are computed and RoIs enlarged in float32, before the RoIs take the features' type.
    bfloat16 features, for which mmcv has no RoIAlign, are pooled in float32. A RoI keeps its level
    when it is enlarged, and RoIs are also enlarged if there is only one feature level. Arguments as
    in ``SingleRoIExtractor``.
    """

    def forward(
        self,
        feats: tuple[Tensor, ...],
        rois: Tensor,
        roi_scale_factor: float | None = None,
        groups: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Pool RoIs.

        Args:
            feats: Feature maps, the highest resolution first, each of shape (N, C, H, W).
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            roi_scale_factor: Factor for width and height of each RoI, about its center.
            groups: Indices of the RoIs of each feature map, see :meth:`group_by_level`; None to
                compute them.

        Returns:
            RoI features, of shape (num_rois, C, h, w).
        """
        rois = rois.float()
        if groups is None:
            groups = self.group_by_level(self.find_levels(feats, rois), len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        size = self.roi_layers[0].output_size
        pooled = feats[0].new_zeros(len(rois), self.out_channels, *size)
        for layer, feat, group in zip(self.roi_layers, feats, groups, strict=False):
            if len(group) > 0:
                pooled[group] = _pool_level(layer, feat, rois[group])
            else:
                # Keep each level in the graph, or distributed training would wait for it.
                pooled = pooled + feat.flatten()[:0].sum()
        return pooled

    def find_levels(self, feats: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """Choose the feature map of each RoI, as MMDetection does.

        Args:
            feats: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).

        Returns:
            Indices of the feature maps, of shape (num_rois,).
        """
        if len(feats) == 1:
            return torch.zeros(len(rois), dtype=torch.long, device=rois.device)
        return self.map_roi_levels(rois.float(), len(feats))

    @staticmethod
    def group_by_level(levels: Tensor, num_levels: int) -> tuple[Tensor, ...]:
        """Group RoIs by level; synchronizes with the GPU once, not per level.

        Args:
            levels: Index of the feature map of each RoI, of shape (num_rois,).
            num_levels: Number of feature maps.

        Returns:
            Indices of the RoIs of each level, each of shape (num_rois_of_level,).
        """
        # A RoI with NaNs has no level; as in MMDetection, its features are zero.
        has_level = (levels >= 0) & (levels < num_levels)
        levels = levels.where(has_level, num_levels)
        sizes = torch.bincount(levels, minlength=num_levels + 1).tolist()
        return levels.argsort(stable=True).split(sizes)[:num_levels]


def precise_extractors(cfg: OptMultiConfig) -> OptMultiConfig:
    """Replace MMDetection's extractor in a config by :class:`PreciseRoIExtractor`.

    Args:
        cfg: Config of a RoI extractor, a list of them or None.

    Returns:
        The same, with ``SingleRoIExtractor`` replaced.
    """
    if isinstance(cfg, Mapping):
        type_ = cfg['type']
        found = MODELS.get(type_) if isinstance(type_, str) else type_
        return {**cfg, 'type': PreciseRoIExtractor} if found is SingleRoIExtractor else cfg
    return [precise_extractors(each) for each in cfg] if cfg else cfg


def _pool_level(layer: nn.Module, feat: Tensor, rois: Tensor) -> Tensor:
    dtype = torch.float32 if feat.dtype == torch.bfloat16 else feat.dtype
    return layer(feat.to(dtype), rois.to(dtype)).to(feat.dtype)

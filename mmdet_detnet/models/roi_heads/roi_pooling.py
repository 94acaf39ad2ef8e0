"""RoI features for more than one scale of the same RoIs, with the levels found once."""

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn


class RoIPooling:
    """Pools some RoIs, as they are or enlarged, with the layers of a RoI extractor.

    It does what ``SingleRoIExtractor.forward`` does, except that the level of each RoI is found
    once, from the RoI as it is, and that a scale factor is applied in float32, before the RoIs
    take the type of the features, and on a single feature level too. Features in bfloat16, for
    which mmcv has no RoIAlign, are pooled in float32. An extractor whose ``forward`` is another is
    called as MMDetection calls it.

    Args:
        extractor: A RoI extractor of MMDetection.
        feats: Feature maps, the highest resolution first, each of shape (N, C, H, W). Those beyond
            ``extractor.num_inputs`` are left out.
        rois: Index of the image and corners in pixels, of shape (num_rois, 5).
        levels: Index of the feature map of each RoI, of shape (num_rois,); None to find it.
    """

    def __init__(
        self,
        extractor: SingleRoIExtractor,
        feats: tuple[Tensor, ...],
        rois: Tensor,
        levels: Tensor | None = None,
    ) -> None:
        self.extractor = extractor
        self.has_other_forward = type(extractor).forward is not SingleRoIExtractor.forward
        self.feats = feats[: extractor.num_inputs]
        self.rois = rois.float()
        self.levels = self._map_levels() if levels is None else levels
        self.groups = self._group()

    def pool(self, scale_factor: float = 1.0) -> Tensor:
        """Pool all RoIs.

        Args:
            scale_factor: By which width and height of each RoI grow, about its centre.

        Returns:
            RoI features, of shape (num_rois, C, h, w).
        """
        if self.has_other_forward:
            return self.extractor(self.feats, self.rois, roi_scale_factor=scale_factor)
        rois = self.rois
        if scale_factor != 1:
            rois = self.extractor.roi_rescale(rois, scale_factor)
        size = self.extractor.roi_layers[0].output_size
        pooled = self.feats[0].new_zeros(len(rois), self.extractor.out_channels, *size)
        for layer, feat, group in zip(
            self.extractor.roi_layers, self.feats, self.groups, strict=False
        ):
            if len(group) > 0:
                pooled[group] = _pool_level(layer, feat, rois[group])
            else:
                # Each level stays in the graph, or distributed training would wait for it.
                pooled = pooled + feat.flatten()[:0].sum()
        return pooled

    def select(self, indices: Tensor) -> 'RoIPooling':
        """Restrict the RoIs, without finding their levels again.

        Args:
            indices: Which RoIs to keep, of shape (num_kept,).

        Returns:
            A pooling of those RoIs.
        """
        return RoIPooling(self.extractor, self.feats, self.rois[indices], self.levels[indices])

    def _map_levels(self) -> Tensor:
        if len(self.feats) == 1 or self.has_other_forward:
            return torch.zeros(len(self.rois), dtype=torch.long, device=self.rois.device)
        return self.extractor.map_roi_levels(self.rois, len(self.feats))

    def _group(self) -> tuple[Tensor, ...]:
        """List the indices of the RoIs of each level; waits for the GPU once, not per level."""
        num_levels = len(self.feats)
        # A RoI with NaNs has no level; as in MMDetection its features are zero.
        has_level = (self.levels >= 0) & (self.levels < num_levels)
        levels = self.levels.where(has_level, num_levels)
        sizes = torch.bincount(levels, minlength=num_levels + 1).tolist()
        return levels.argsort(stable=True).split(sizes)[:num_levels]


def _pool_level(layer: nn.Module, feat: Tensor, rois: Tensor) -> Tensor:
    dtype = torch.float32 if feat.dtype == torch.bfloat16 else feat.dtype
    return layer(feat.to(dtype), rois.to(dtype)).to(feat.dtype)

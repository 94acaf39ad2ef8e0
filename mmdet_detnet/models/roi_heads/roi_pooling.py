"""RoI features for several sizes of the same RoIs, with levels computed once."""

from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from torch import Tensor

from .precise_roi_extractor import PreciseRoIExtractor


class RoIPooling:
    """Pools RoIs, original or enlarged, with a RoI extractor.

    A :class:`PreciseRoIExtractor` computes the levels of the RoIs once for all sizes; other
    extractors are called as in MMDetection.

    Args:
        extractor: A RoI extractor.
        feats: Feature maps, the highest resolution first, each of shape (N, C, H, W). Those beyond
            ``extractor.num_inputs`` are ignored.
        rois: Index of the image and corners in pixels, of shape (num_rois, 5).
        levels: Index of the feature map of each RoI, of shape (num_rois,); None to compute it.
    """

    def __init__(
        self,
        extractor: BaseRoIExtractor,
        feats: tuple[Tensor, ...],
        rois: Tensor,
        levels: Tensor | None = None,
    ) -> None:
        self.extractor = extractor
        self.feats = feats[: extractor.num_inputs]
        self.rois = rois
        self.levels = None
        self.groups = {}
        if isinstance(extractor, PreciseRoIExtractor):
            self.levels = extractor.find_levels(self.feats, rois) if levels is None else levels
            self.groups = dict(groups=extractor.group_by_level(self.levels, len(self.feats)))

    def pool(self, scale_factor: float | None = None) -> Tensor:
        """Pool all RoIs.

        Args:
            scale_factor: Factor for width and height of each RoI, about its center.

        Returns:
            RoI features, of shape (num_rois, C, h, w).
        """
        return self.extractor(self.feats, self.rois, roi_scale_factor=scale_factor, **self.groups)

    def select(self, indices: Tensor) -> 'RoIPooling':
        """Select RoIs without computing their levels again.

        Args:
            indices: Indices of the RoIs to keep, of shape (num_kept,).

        Returns:
            A pooling of those RoIs.
        """
        levels = None if self.levels is None else self.levels[indices]
        return RoIPooling(self.extractor, self.feats, self.rois[indices], levels)

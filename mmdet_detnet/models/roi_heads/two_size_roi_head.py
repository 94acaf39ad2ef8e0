"""Common base of RoI heads with Double-Head: two heads on two sizes of each RoI."""

from collections.abc import Callable
from typing import Any

from mmdet.models.roi_heads import BaseRoIHead
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from torch import Tensor, nn

from mmdet_detnet.models.arguments import is_number, reject

from .bbox_heads import DoubleConvFCBBoxHead
from .precise_roi_extractor import precise_extractors
from .roi_pooling import RoIPooling

EXTRACTORS = ('bbox_roi_extractor', 'mask_roi_extractor')


class TwoSizeRoIHead(BaseRoIHead):
    """Mixin for RoI heads of MMDetection: runs two heads on two sizes of each RoI.

    List it before them among the bases. A :class:`.PreciseRoIExtractor` replaces MMDetection's
    ``SingleRoIExtractor`` for boxes and masks.

    Args:
        **kwargs: Arguments of the RoI head.

    Attributes:
        reg_roi_scale_factor: Factor for width and height of the conv-head's RoIs.
    """

    reg_roi_scale_factor: float

    def __init__(self, **kwargs: Any) -> None:
        for name in EXTRACTORS:
            if name in kwargs:
                kwargs[name] = precise_extractors(kwargs[name])
        super().__init__(**kwargs)

    def run_heads(
        self,
        extractor: BaseRoIExtractor,
        bbox_head: DoubleConvFCBBoxHead,
        x: tuple[Tensor, ...],
        rois: Tensor,
        choose: Callable[[Tensor], Tensor] | None = None,
    ) -> dict:
        """Run both heads.

        Args:
            extractor: Pools the RoIs.
            bbox_head: Has both heads.
            x: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            choose: Takes the class logits of the fc-head and returns the indices of the conv-head's
                RoIs; None for all.

        Returns:
            ``cls_score``, ``bbox_pred`` and ``unfocused`` (class logits of the conv-head and deltas
            of the fc-head, or None), with the conv-head's outputs only for the chosen RoIs;
            ``chosen``, their indices or None; and ``bbox_feats``, the features of the original
            RoIs.
        """
        pooling = RoIPooling(extractor, x, rois)
        cls_feats = self._share(pooling.pool())
        cls_score, fc_bbox_pred = bbox_head.forward_fc(cls_feats)
        chosen = None if choose is None else choose(cls_score)
        enlarged = pooling if chosen is None else pooling.select(chosen)
        reg_feats = self._share(enlarged.pool(self.reg_roi_scale_factor))
        conv_cls_score, bbox_pred = bbox_head.forward_conv(reg_feats)
        return dict(
            cls_score=cls_score,
            bbox_pred=bbox_pred,
            unfocused=(conv_cls_score, fc_bbox_pred),
            chosen=chosen,
            bbox_feats=cls_feats,
        )

    def run_heads_on_all(self, *args: Any, **kwargs: Any) -> dict:
        """Same as :meth:`run_heads`, with deltas of zero for the RoIs that are not chosen."""
        results = self.run_heads(*args, **kwargs)
        chosen, bbox_pred = results.pop('chosen'), results['bbox_pred']
        if chosen is not None:
            all_deltas = bbox_pred.new_zeros(len(results['cls_score']), bbox_pred.shape[1])
            results['bbox_pred'] = all_deltas.index_copy(0, chosen, bbox_pred)
        return results

    def _share(self, feats: Tensor) -> Tensor:
        return self.shared_head(feats) if self.with_shared_head else feats


def find_survivors(bbox_head: DoubleConvFCBBoxHead, cls_score: Tensor, score_thr: float) -> Tensor:
    """Find the RoIs with a class, other than background, above a threshold.

    Args:
        bbox_head: Box head that converts logits to probabilities.
        cls_score: Class logits, of shape (num_rois, num_class_channels).
        score_thr: The threshold, a probability.

    Returns:
        Their indices, of shape (num_survivors,).
    """
    best = bbox_head.class_probabilities(cls_score)[:, :-1].amax(dim=1)
    return (best > score_thr).nonzero().squeeze(1)


def check_double_head(
    roi_head: nn.Module, bbox_head: nn.Module, reg_roi_scale_factor: float
) -> None:
    """Check the parts of a RoI head with two heads.

    Args:
        roi_head: The RoI head, named in errors.
        bbox_head: Its box head, or that of a stage.
        reg_roi_scale_factor: Its scale factor for the conv-head's RoIs.

    Raises:
        ValueError: If the box head or the scale factor is not allowed.
    """
    if not isinstance(bbox_head, DoubleConvFCBBoxHead):
        reject(roi_head, 'bbox_head', type(bbox_head), 'a mmdet_detnet.DoubleConvFCBBoxHead')
    if not is_number(reg_roi_scale_factor) or reg_roi_scale_factor <= 0:
        reject(roi_head, 'reg_roi_scale_factor', reg_roi_scale_factor, 'a positive number')

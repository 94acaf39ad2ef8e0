"""RoI heads without data-dependent sizes."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from mmdet_detnet.models import DoubleHeadRoIHead, PreciseRoIExtractor

from .operators import roi_align_levels


class StaticRoIExtractor(nn.Module):
    """Replaces a ``SingleRoIExtractor``.

    Args:
        extractor: The replaced extractor.
    """

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_inputs = extractor.num_inputs

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool RoIs; arguments and result are those of the extractor."""
        levels = self.extractor.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None and self._enlarges(len(feats)):
            rois = self.extractor.roi_rescale(rois, roi_scale_factor)
        layers = self.extractor.roi_layers
        return roi_align_levels(
            list(feats),
            rois,
            levels,
            [layer.spatial_scale for layer in layers],
            list(layers[0].output_size),
            layers[0].sampling_ratio,
            layers[0].aligned,
        )

    def _enlarges(self, num_levels: int) -> bool:
        """Tell whether RoIs are enlarged; MMDetection's extractor does not with a single level."""
        return num_levels > 1 or isinstance(self.extractor, PreciseRoIExtractor)


def use_static_extractors(roi_head: StandardRoIHead) -> None:
    """Replace the RoI extractors of a RoI head, in place."""
    extractor = roi_head.bbox_roi_extractor
    if isinstance(extractor, nn.ModuleList):
        roi_head.bbox_roi_extractor = nn.ModuleList(map(StaticRoIExtractor, extractor))
    else:
        roi_head.bbox_roi_extractor = StaticRoIExtractor(extractor)


def predict_rois(
    roi_head: StandardRoIHead, feats: tuple[Tensor, ...], rois: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Run a RoI head on all RoIs.

    Args:
        roi_head: A head that :func:`.check_exportable` accepts, with static extractors.
        feats: Feature maps, the highest resolution first, each ``(B, C, h, w)``.
        rois: Index of the image and corners in pixels, ``(num_rois, 5)``.
        image_size: Height and width that boxes are clipped to, in pixels.

    Returns:
        Boxes, ``(num_rois, num_classes, 4)``, or ``(num_rois, 1, 4)`` if they are class-agnostic,
        and scores without the background, ``(num_rois, num_classes)``.
    """
    bbox_head = roi_head.bbox_head
    if isinstance(roi_head, CascadeRoIHead):
        bbox_head = bbox_head[-1]
        # All images at once, as one image: they have the same size.
        metas = [dict(img_shape=image_size)]
        refined = roi_head._refine_roi(feats, rois, metas, [rois.shape[0]])
        rois, logits, deltas = (of_images[0] for of_images in refined)
    elif isinstance(roi_head, DoubleHeadRoIHead):
        rois, logits, deltas = roi_head.score_rois(feats, rois, rcnn_test_cfg=None)
    else:
        results = roi_head._bbox_forward(feats, rois)
        logits, deltas = results['cls_score'], results['bbox_pred']
    is_fused = getattr(bbox_head, 'fuses_scores', False)
    scores = logits if is_fused else F.softmax(logits, dim=-1)
    boxes_per_roi = 1 if bbox_head.reg_class_agnostic else bbox_head.num_classes
    corners = rois[:, None, 1:].expand(-1, boxes_per_roi, -1)
    boxes = bbox_head.bbox_coder.decode(
        corners.reshape(-1, 4), deltas.reshape(-1, 4), max_shape=image_size
    )
    return boxes.reshape(corners.shape), scores[:, :-1]

"""Exportable detectors from image to boxes, one class per family.

They compute what MMDetection's detectors compute, on whole batches and with static numbers of
boxes. A dropped box keeps its place and gets :data:`NO_SCORE`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.detectors import BaseDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmdet_detnet.models import ConfidenceRetinaHead, DoubleHeadRoIHead, PreciseRoIExtractor

from .onnx_operators import nms_mask, roi_align_levels

# Below every probability.
NO_SCORE = -1.0
ImageSize = tuple[int, int]  # height and width that boxes are clipped to, in pixels
# Boxes, scores and labels.
Candidates = tuple[Tensor, Tensor, Tensor]
# Boxes (B, number, 4), scores and labels (B, number), the best first, and their number (B,). Beyond
# it, boxes and scores are 0 and labels -1.
Detections = tuple[Tensor, Tensor, Tensor, Tensor]


class DetectorGraph(nn.Module):
    """Base of the families: everything up to the feature maps.

    Args:
        detector: A detector that ``check_exportable`` accepts, in evaluation mode; it is changed.
        takes_pixels: As for :func:`.export_onnx`.
    """

    def __init__(self, detector: BaseDetector, takes_pixels: bool) -> None:
        super().__init__()
        self.detector = detector
        self.takes_pixels = takes_pixels

    def forward(self, images: Tensor) -> Detections:
        """Detect the objects in images ``(B, 3, H, W)`` of any one size."""
        height, width = images.shape[2:]
        feats = self.detector.extract_feat(self._preprocess(images))
        return self.detect(feats, (height, width))

    def _preprocess(self, images: Tensor) -> Tensor:
        """Preprocess like ``DetDataPreprocessor``."""
        settings = self.detector.data_preprocessor
        if self.takes_pixels:
            # Images are read as BGR, which a detector without conversion expects.
            images = (images if settings._channel_conversion else images.flip(1)).float()
            if settings._enable_normalize:
                images = (images - settings.mean) / settings.std
        height, width = images.shape[2:]
        divisor = settings.pad_size_divisor
        padding = (0, -width % divisor, 0, -height % divisor)
        return F.pad(images, padding, value=float(settings.pad_value))

    def detect(self, feats: tuple[Tensor, ...], image_size: ImageSize) -> Detections:
        """Detect the objects in feature maps ``(B, C, h, w)``, the highest resolution first."""
        raise NotImplementedError


class DenseGraph(DetectorGraph):
    """One-stage detectors with an anchor head."""

    def detect(self, feats: tuple[Tensor, ...], image_size: ImageSize) -> Detections:
        """Detect the objects; see the base class."""
        head = self.detector.bbox_head
        cfg = head.test_cfg
        boxes, scores, labels = find_candidates(head, feats, image_size, cfg)
        scores = suppress(boxes, scores, labels, cfg.nms.iou_threshold)
        return pack_detections(boxes, scores, labels, cfg.max_per_img)


class TwoStageGraph(DetectorGraph):
    """Two-stage detectors with an RPN."""

    def __init__(self, detector: BaseDetector, takes_pixels: bool) -> None:
        super().__init__(detector, takes_pixels)
        extractors = detector.roi_head.bbox_roi_extractor
        is_cascade = isinstance(extractors, nn.ModuleList)
        detector.roi_head.bbox_roi_extractor = (
            nn.ModuleList(map(StaticRoIExtractor, extractors))
            if is_cascade
            else StaticRoIExtractor(extractors)
        )

    def detect(self, feats: tuple[Tensor, ...], image_size: ImageSize) -> Detections:
        """Detect the objects; see the base class."""
        roi_head: StandardRoIHead = self.detector.roi_head
        cfg = roi_head.test_cfg
        proposals, is_proposal = self._propose(feats, image_size)
        images, number = is_proposal.shape
        image_ids = torch.arange(images, device=proposals.device)[:, None, None]
        rois = torch.cat([image_ids.expand(-1, number, -1).to(proposals), proposals], dim=2)
        boxes, scores = predict_rois(roi_head, feats, rois.flatten(0, 1), image_size)
        num_classes = scores.shape[1]
        # One class after the other, so that NMS can process them separately.
        boxes = boxes.reshape(images, number, -1, 4).expand(-1, -1, num_classes, -1)
        boxes = boxes.transpose(1, 2).flatten(1, 2)
        scores = scores.reshape(images, number, num_classes)
        is_in = is_proposal[..., None] & (scores > cfg.score_thr)
        scores = scores.where(is_in, NO_SCORE).transpose(1, 2).flatten(1)
        labels = torch.arange(num_classes, device=boxes.device).repeat_interleave(number)
        scores = suppress(boxes, scores, labels, cfg.nms.iou_threshold, num_classes)
        return pack_detections(boxes, scores, labels.expand(images, -1), cfg.max_per_img)

    def _propose(self, feats: tuple[Tensor, ...], image_size: ImageSize) -> tuple[Tensor, Tensor]:
        """Run the RPN; corners ``(B, n, 4)``, and which of them are proposals, ``(B, n)``."""
        head = self.detector.rpn_head
        cfg = head.test_cfg
        boxes, scores, _ = find_candidates(head, feats, image_size, cfg)
        levels = torch.arange(len(feats), device=boxes.device).repeat_interleave(cfg.nms_pre)
        scores = suppress(boxes, scores, levels, cfg.nms.iou_threshold, len(feats))
        scores, indices = take_best(scores, cfg.max_per_img)
        return take(boxes, indices), scores > NO_SCORE


def find_candidates(
    head: AnchorHead, feats: Sequence[Tensor], image_size: ImageSize, cfg: ConfigDict
) -> Candidates:
    """Run an anchor head and select the best boxes of each level, as it does before its NMS.

    Returns:
        Corners in pixels ``(B, n, 4)``, scores or NO_SCORE ``(B, n)``, and classes ``(B, n)``;
        ``cfg.nms_pre`` of each level, one level after the other.
    """
    outputs = head(feats)
    sizes = [tuple(maps.shape[2:]) for maps in outputs[0]]
    priors = head.prior_generator.grid_priors(sizes, device=feats[0].device)
    levels = [
        _best_of_level(head, maps, anchors, image_size, cfg)
        for *maps, anchors in zip(*outputs, priors, strict=True)
    ]
    boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
    min_size = cfg.get('min_bbox_size', -1)
    if min_size >= 0:
        scores = scores.where((boxes[..., 2:] - boxes[..., :2] > min_size).all(-1), NO_SCORE)
    return boxes, scores, labels


def _best_of_level(
    head: AnchorHead,
    maps: list[Tensor],
    anchors: Tensor,
    image_size: ImageSize,
    cfg: ConfigDict,
) -> Candidates:
    cls_score, bbox_pred, *conf_preds = maps
    scores = _by_anchor(cls_score, head.cls_out_channels)
    scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
    conf = _by_anchor(conf_preds[0], 1).sigmoid() if conf_preds else None
    if conf is not None and head.select_by == 'joint':
        scores, conf = _join(head, scores, conf), None
    num_classes = scores.shape[2]
    scores = scores.flatten(1)
    if 'score_thr' in cfg:
        scores = scores.where(scores > cfg.score_thr, NO_SCORE)
    scores, indices = take_best(scores, cfg.nms_pre)
    chosen = indices // num_classes
    if conf is not None:
        joint = _join(head, scores.clamp(min=0), take(conf, chosen)[..., 0])
        scores = joint.where(scores > NO_SCORE, NO_SCORE)
    deltas = take(_by_anchor(bbox_pred, 4), chosen)
    boxes = head.bbox_coder.decode(
        anchors[chosen].flatten(0, 1), deltas.flatten(0, 1), max_shape=image_size
    )
    return boxes.reshape(deltas.shape), scores, indices % num_classes


def _by_anchor(maps: Tensor, channels: int) -> Tensor:
    """Reorder maps ``(B, A * channels, h, w)`` by anchor, ``(B, n, channels)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def _join(head: ConfidenceRetinaHead, scores: Tensor, conf: Tensor) -> Tensor:
    return scores ** (1 - head.conf_exponent) * conf**head.conf_exponent


class StaticRoIExtractor(nn.Module):
    """Replaces a ``SingleRoIExtractor``: no number of RoIs depends on the data."""

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_inputs = extractor.num_inputs

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool RoIs; arguments and result are those of the extractor."""
        levels = self.extractor.map_roi_levels(rois, len(feats))
        # MMDetection's extractor does not enlarge RoIs if there is a single level.
        enlarges = len(feats) > 1 or isinstance(self.extractor, PreciseRoIExtractor)
        if roi_scale_factor is not None and enlarges:
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


def predict_rois(
    roi_head: StandardRoIHead, feats: tuple[Tensor, ...], rois: Tensor, image_size: ImageSize
) -> tuple[Tensor, Tensor]:
    """Run a RoI head with static extractors on all RoIs ``(num_rois, 5)``.

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


def take_best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Select the best boxes of each image: scores and indices, ``(B, number)`` each.

    It is a constant number, as TensorRT needs it. Missing boxes have NO_SCORE and any index.
    """
    values, indices = F.pad(scores, (0, number), value=NO_SCORE).topk(number)
    return values, indices.clamp(max=scores.shape[1] - 1)


def take(values: Tensor, indices: Tensor) -> Tensor:
    """Select values ``(B, n)`` or ``(B, n, k)`` of each image by indices ``(B, m)``."""
    if values.dim() == 3:
        indices = indices[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, indices)


def suppress(
    boxes: Tensor,  # corners in pixels, (B, n, 4)
    scores: Tensor,  # (B, n)
    groups: Tensor,  # level or class of each box, (n,) or (B, n)
    iou_threshold: float,  # a box is dropped if its IoU with a better one of its group exceeds this
    # Number of equal parts, each of whole groups, that the boxes of an image can be split into. It
    # saves comparisons.
    num_parts: int = 1,
) -> Tensor:
    """Run NMS within the groups of each image.

    Like mmcv's ``batched_nms``, it moves the groups apart before it compares boxes. Coordinates are
    rounded in the same way, so both agree to the last bit.

    Returns:
        The scores of kept boxes, else NO_SCORE, ``(B, n)``.
    """
    images, number = scores.shape
    is_in = scores > NO_SCORE
    largest = boxes.where(is_in[..., None], 0).amax(dim=(1, 2))
    moved = boxes + (groups * (largest[:, None] + 1))[..., None]
    rows = images * num_parts, number // num_parts
    keep = nms_mask(moved.reshape(*rows, 4), scores.reshape(rows), iou_threshold, NO_SCORE)
    return scores.where(keep.reshape(images, number), NO_SCORE)


def pack_detections(boxes: Tensor, scores: Tensor, labels: Tensor, number: int) -> Detections:
    """Select the detections of each image, at most ``number``."""
    scores, indices = take_best(scores, number)
    is_in = scores > NO_SCORE
    boxes = take(boxes, indices).where(is_in[..., None], 0)
    labels = take(labels, indices).where(is_in, -1)
    return boxes, scores.where(is_in, 0), labels, is_in.sum(1)

"""Exportable detectors from image to boxes, one class per family."""

import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.models.roi_heads import StandardRoIHead
from torch import Tensor, nn

from .anchor_heads import find_candidates
from .roi_heads import predict_rois, use_static_extractors
from .selection import NO_SCORE, drop_small, pack_detections, suppress, take, take_best

Detections = tuple[Tensor, Tensor, Tensor, Tensor]


class DetectorGraph(nn.Module):
    """Base of the families: everything up to the feature maps.

    Args:
        detector: A detector that :func:`.check_exportable` accepts, in evaluation mode. It is
            changed; pass a copy.
        takes_pixels: Whether the input is uint8 RGB, or the detector's preprocessed images before
            padding.
    """

    def __init__(self, detector: BaseDetector, takes_pixels: bool) -> None:
        super().__init__()
        self.detector = detector
        self.takes_pixels = takes_pixels

    def forward(self, images: Tensor) -> Detections:
        """Detect the objects in images of one size.

        Args:
            images: ``(B, 3, H, W)``, of any size.

        Returns:
            Output of :func:`.pack_detections`.
        """
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

    def detect(self, feats: tuple[Tensor, ...], image_size: tuple[int, int]) -> Detections:
        """Detect the objects.

        Args:
            feats: Feature maps, the highest resolution first, each ``(B, C, h, w)``.
            image_size: Height and width that boxes are clipped to, in pixels.

        Returns:
            Output of :func:`.pack_detections`.
        """
        raise NotImplementedError


class DenseGraph(DetectorGraph):
    """One-stage detectors with an anchor head."""

    def detect(self, feats: tuple[Tensor, ...], image_size: tuple[int, int]) -> Detections:
        """Detect the objects; see the base class."""
        head = self.detector.bbox_head
        cfg = head.test_cfg
        boxes, scores, labels = find_candidates(head, feats, image_size, cfg)
        scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
        scores = suppress(boxes, scores, labels, cfg.nms.iou_threshold)
        return pack_detections(boxes, scores, labels, cfg.max_per_img)


class TwoStageGraph(DetectorGraph):
    """Two-stage detectors with an RPN."""

    def __init__(self, detector: BaseDetector, takes_pixels: bool) -> None:
        super().__init__(detector, takes_pixels)
        use_static_extractors(detector.roi_head)

    def detect(self, feats: tuple[Tensor, ...], image_size: tuple[int, int]) -> Detections:
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

    def _propose(
        self, feats: tuple[Tensor, ...], image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Run the RPN; corners ``(B, n, 4)``, and which of them are proposals, ``(B, n)``."""
        head = self.detector.rpn_head
        cfg = head.test_cfg
        boxes, scores, _ = find_candidates(head, feats, image_size, cfg)
        scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
        levels = torch.arange(len(feats), device=boxes.device).repeat_interleave(cfg.nms_pre)
        scores = suppress(boxes, scores, levels, cfg.nms.iou_threshold, len(feats))
        scores, indices = take_best(scores, cfg.max_per_img)
        return take(boxes, indices), scores > NO_SCORE

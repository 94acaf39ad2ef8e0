"""RetinaNet-Conf: a RetinaNet that predicts how well each box fits its object.

Paper: Improvement of Classification in One-Stage Detector, https://arxiv.org/abs/2011.10465.
"""

from typing import Any

from mmdet.models.dense_heads import RetinaHead
from mmdet.utils import InstanceList
from torch import Tensor

from mmdet_detnet.registry import MODELS

from .confidence_branch import ConfidenceBranch, Level


@MODELS.register_module()
class ConfidenceRetinaHead(ConfidenceBranch, RetinaHead):
    """RetinaHead with the :class:`.ConfidenceBranch`, which describes the arguments.

    In addition to RetinaHead's outputs, ``forward`` returns confidence logits: a tensor
    ``(N, num_anchors, H, W)`` per level, next to class scores
    ``(N, num_anchors * num_classes, H, W)``. mmdet passes them to :meth:`predict_by_feat` as
    ``score_factors``.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.retina_conf = self.make_conf_layer(self.retina_cls.in_channels)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict on one level.

        Args:
            x: Features, ``(N, in_channels, H, W)``.

        Returns:
            Class logits ``(N, num_anchors * num_classes, H, W)``, box deltas
            ``(N, num_anchors * 4, H, W)`` and confidence logits ``(N, num_anchors, H, W)``.
        """
        cls_feat, reg_feat, conf_feat = self.run_towers(x)
        return self.retina_cls(cls_feat), self.retina_reg(reg_feat), self.retina_conf(conf_feat)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        conf_preds: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Compute the losses of a batch.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            conf_preds: Confidence logits of each level.
            *args: Ground truth, meta information and ignored boxes, as in AnchorHead.
            **kwargs: The same by name.

        Returns:
            ``loss_cls`` and ``loss_bbox``, with one value per level, and ``loss_conf``, a scalar.
        """
        # AnchorHead passes only box predictions to `loss_by_feat_single`, so pass pairs of boxes
        # and confidences and get back box losses with what the confidence loss needs.
        losses = super().loss_by_feat(
            cls_scores, list(zip(bbox_preds, conf_preds, strict=True)), *args, **kwargs
        )
        losses_bbox, levels, (avg_factor, *_) = zip(*losses['loss_bbox'], strict=True)
        loss_conf = self.loss_conf_by_levels(levels, avg_factor)
        return {**losses, 'loss_bbox': list(losses_bbox), 'loss_conf': loss_conf}

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        box_and_conf: tuple[Tensor, Tensor],
        anchors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: float,
    ) -> tuple[Tensor, tuple[Tensor, Level, float]]:
        """Compute the losses of one level; its ``K`` anchors are in the order (H, W, anchor).

        Args:
            cls_score: Class logits, ``(N, num_anchors * num_classes, H, W)``.
            box_and_conf: Box deltas and confidence logits, as returned by :meth:`forward_single`.
            anchors: Corners in pixels, ``(N, K, 4)``.
            labels: Class of each anchor, ``(N, K)``; ``num_classes`` is the background.
            label_weights: Weights of the classification, ``(N, K)``.
            bbox_targets: Deltas, or corners if ``reg_decoded_bbox``, ``(N, K, 4)``.
            bbox_weights: Weights of the regression, ``(N, K, 4)``.
            avg_factor: Divisor of each loss: the number of positives in the batch.

        Returns:
            The classification loss, and the box loss with what the confidence loss needs.
        """
        bbox_pred, conf_pred = box_and_conf
        loss_cls, loss_bbox = super().loss_by_feat_single(
            cls_score,
            bbox_pred,
            anchors,
            labels,
            label_weights,
            bbox_targets,
            bbox_weights,
            avg_factor,
        )
        level = (conf_pred, bbox_pred, anchors, labels, bbox_targets)
        return loss_cls, (loss_bbox, level, avg_factor)

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to detections.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            score_factors: Confidence logits of each level.
            *args: Meta information of the images and config of the post-processing, as in
                BaseDenseHead.
            **kwargs: The same by name, ``rescale`` and ``with_nms``.

        Returns:
            Boxes (corners in pixels), joint scores and labels for each image.
        """
        return self.predict_by_joint_score(
            cls_scores, bbox_preds, score_factors, None, *args, **kwargs
        )

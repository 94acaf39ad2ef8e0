"""ATSS with the confidence of RetinaNet-Conf, a combination that no paper describes."""

from typing import Any

from mmcv.cnn import Scale
from mmdet.models.dense_heads import ATSSHead
from mmdet.utils import InstanceList
from torch import Tensor

from mmdet_detnet.models.arguments import check_flags
from mmdet_detnet.registry import MODELS

from .confidence_branch import ConfidenceBranch, Level


@MODELS.register_module()
class ConfidenceATSSHead(ConfidenceBranch, ATSSHead):
    """ATSSHead with the :class:`.ConfidenceBranch`, whose joint score can replace centerness.

    The centerness is trained in any case.

    Args:
        *args: ``num_classes`` and ``in_channels``, and what follows them in
            :class:`.ConfidenceBranch`.
        multiply_centerness: Whether detections are ranked by the joint score times the centerness.
            False ignores centerness at test time: the author of IoU-aware RetinaNet reports that
            FCOS gained 0.4 AP when the predicted IoU replaced it (issue 4 of
            https://github.com/ShengkaiWu/IoU-aware-single-stage-object-detector). It can be set on
            a trained detector, for example with
            ``--cfg-options model.bbox_head.multiply_centerness=True``.
        **kwargs: The arguments of :class:`.ConfidenceBranch` and of ATSSHead.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(self, *args: Any, multiply_centerness: bool = False, **kwargs: Any) -> None:
        check_flags(self, multiply_centerness=multiply_centerness)
        super().__init__(*args, **kwargs)
        self.multiply_centerness = multiply_centerness

    def _init_layers(self) -> None:
        super()._init_layers()
        self.atss_conf = self.make_conf_layer(self.atss_cls.in_channels)

    def forward_single(self, x: Tensor, scale: Scale) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict on one level.

        Args:
            x: Features, ``(N, in_channels, H, W)``.
            scale: Factor of the box deltas, learned for the level.

        Returns:
            Class logits ``(N, num_anchors * num_classes, H, W)``, box deltas
            ``(N, num_anchors * 4, H, W)``, and logits of centerness and of confidence, both
            ``(N, num_anchors, H, W)``.
        """
        cls_feat, reg_feat, conf_feat = self.run_towers(x)
        bbox_pred = scale(self.atss_reg(reg_feat)).float()
        centerness = self.atss_centerness(reg_feat)
        return self.atss_cls(cls_feat), bbox_pred, centerness, self.atss_conf(conf_feat)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        conf_preds: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Compute the losses of a batch.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            centernesses: Centerness logits of each level.
            conf_preds: Confidence logits of each level.
            *args: Ground truth, meta information and ignored boxes, as in ATSSHead.
            **kwargs: The same by name.

        Returns:
            ``loss_cls``, ``loss_bbox`` and ``loss_centerness``, with one value per level, and
            ``loss_conf``, a scalar.
        """
        # ATSSHead passes only the centerness to `loss_by_feat_single`, so pass pairs of centerness
        # and confidence and get back centerness losses with what the confidence loss needs.
        pairs = list(zip(centernesses, conf_preds, strict=True))
        losses = super().loss_by_feat(cls_scores, bbox_preds, pairs, *args, **kwargs)
        centerness, levels, (avg_factor, *_) = zip(*losses['loss_centerness'], strict=True)
        loss_conf = self.loss_conf_by_levels(levels, avg_factor)
        return {**losses, 'loss_centerness': list(centerness), 'loss_conf': loss_conf}

    def loss_by_feat_single(
        self,
        anchors: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        centerness_and_conf: tuple[Tensor, Tensor],
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        avg_factor: float,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Level, float], Tensor]:
        """Compute the losses of one level; its ``K`` anchors are in the order (H, W, anchor).

        Args:
            anchors: Corners in pixels, ``(N, K, 4)``.
            cls_score: Class logits, ``(N, num_anchors * num_classes, H, W)``.
            bbox_pred: Box deltas, ``(N, num_anchors * 4, H, W)``.
            centerness_and_conf: Logits of both, as returned by :meth:`forward_single`.
            labels: Class of each anchor, ``(N, K)``; ``num_classes`` is the background.
            label_weights: Weights of the classification, ``(N, K)``.
            bbox_targets: Corners in pixels, ``(N, K, 4)``.
            avg_factor: Divisor of the losses: the number of positives in the batch.

        Returns:
            The losses of class and box, that of centerness with what the confidence loss needs,
            and the sum of the centerness targets, by which ATSS divides the box loss.
        """
        centerness, conf_pred = centerness_and_conf
        loss_cls, loss_bbox, loss_centerness, target_sum = super().loss_by_feat_single(
            anchors,
            cls_score,
            bbox_pred,
            centerness,
            labels,
            label_weights,
            bbox_targets,
            avg_factor,
        )
        level = (conf_pred, bbox_pred, anchors, labels, bbox_targets)
        return loss_cls, loss_bbox, (loss_centerness, level, avg_factor), target_sum

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        conf_preds: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to detections.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            centernesses: Centerness logits of each level.
            conf_preds: Confidence logits of each level.
            *args: Meta information of the images and config of the post-processing, as in
                BaseDenseHead.
            **kwargs: The same by name, ``rescale`` and ``with_nms``.

        Returns:
            Boxes (corners in pixels), scores and labels for each image. A score is the joint one,
            times the centerness if ``multiply_centerness``.
        """
        factors = centernesses if self.multiply_centerness else None
        return self.predict_by_joint_score(
            cls_scores, bbox_preds, conf_preds, factors, *args, **kwargs
        )

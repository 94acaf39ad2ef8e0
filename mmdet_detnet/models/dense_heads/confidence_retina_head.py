"""RetinaNet-Conf: a RetinaNet that predicts how well each box fits its object.

Paper: Improvement of Classification in One-Stage Detector, https://arxiv.org/abs/2011.10465. The
authors' code is an edit of MMDetection 2.4.0, https://github.com/chenzuge1/RetinaNet-Conf (commit
350d9f6): ``mmdet/models/dense_heads/{retina_head,anchor_head}.py``. This head follows the code
where the paper's abstract leaves a choice, unless stated otherwise.
"""

from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_detnet.models.arguments import (
    check_choice,
    check_flags,
    check_positive_integer,
    is_number,
    reject,
)
from mmdet_detnet.registry import MODELS

FEATURE_SOURCES = ('cls', 'reg')
SELECTION_SCORES = ('joint', 'cls')


@MODELS.register_module()
class ConfidenceRetinaHead(RetinaHead):
    """RetinaHead with an additional convolution that predicts the IoU of each anchor's box.

    The confidence is trained on positive anchors to predict the IoU of the decoded box with its
    ground truth. At test time, a box has the joint score ``cls^(1 - a) * conf^a``, where ``a`` is
    ``conf_exponent``, on every level; the authors omit the confidence on levels with at most
    ``nms_pre`` anchors.

    In addition to RetinaHead's outputs, ``forward`` returns confidence logits: a tensor
    ``(N, num_anchors, H, W)`` per level, next to class scores
    ``(N, num_anchors * num_classes, H, W)``. mmdet passes them to :meth:`predict_by_feat` as
    ``score_factors``.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Number of channels of the features.
        conf_exponent: Exponent ``a`` of the confidence in the joint score, in [0, 1); 0 gives
            RetinaHead's detections. The authors' code uses 0.4; its comments and a later project
            use 0.3 to 0.7, apparently tuned for each checkpoint. It can be set on a trained
            detector, for example with ``--cfg-options model.bbox_head.conf_exponent=0.5``.
        select_by: Score that ``score_thr`` and ``nms_pre`` apply to. 'joint', as in the authors'
            code, lets many more boxes pass ``score_thr=0.05`` than in RetinaNet. 'cls', the class
            score, selects the same boxes as RetinaNet. In both cases, NMS ranks by the joint score,
            which is also the score of the detections.
        feature_source: Tower that the confidence is predicted from: 'cls', as in the authors' code,
            or 'reg', as in IoU-aware RetinaNet (https://arxiv.org/abs/1912.05992).
        detach_iou_target: Whether the IoU is a constant in the confidence loss. If False, as in the
            authors' code, the loss reaches the regression tower: it raises the IoU of boxes with a
            confidence above 0.5 and lowers that of the others.
        loss_conf: Config of the confidence loss. It must take logits (``use_sigmoid=True``) and
            targets of the same shape, and is averaged like the other losses.
        **kwargs: The other arguments of RetinaHead and AnchorHead.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        conf_exponent: float = 0.4,
        select_by: str = 'joint',
        feature_source: str = 'cls',
        detach_iou_target: bool = False,
        loss_conf: ConfigType = dict(  # noqa: B006
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0
        ),
        **kwargs: Any,
    ) -> None:
        check_choice(self, 'select_by', select_by, SELECTION_SCORES)
        check_choice(self, 'feature_source', feature_source, FEATURE_SOURCES)
        check_flags(self, detach_iou_target=detach_iou_target)
        check_positive_integer(self, 'num_classes', num_classes)
        check_positive_integer(self, 'in_channels', in_channels)
        super().__init__(num_classes, in_channels, **kwargs)
        self.conf_exponent = conf_exponent
        self.select_by = select_by
        self.feature_source = feature_source
        self.detach_iou_target = detach_iou_target
        self.loss_conf = MODELS.build(loss_conf)
        for name in ('loss_cls', 'loss_conf'):
            if not getattr(getattr(self, name), 'use_sigmoid', False):
                reject(self, name, getattr(self, name), 'a loss with use_sigmoid=True')

    @property
    def conf_exponent(self) -> float:
        """Exponent of the confidence in the joint score; can be set at any time."""
        return self._conf_exponent

    @conf_exponent.setter
    def conf_exponent(self, value: float) -> None:
        if not is_number(value) or not 0 <= value < 1:
            reject(self, 'conf_exponent', value, 'a number in [0, 1)')
        self._conf_exponent = value

    def _init_layers(self) -> None:
        super()._init_layers()
        self.retina_conf = nn.Conv2d(
            self.retina_cls.in_channels, self.num_base_priors, kernel_size=3, padding=1
        )

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict on one level.

        Args:
            x: Features, ``(N, in_channels, H, W)``.

        Returns:
            Class logits ``(N, num_anchors * num_classes, H, W)``, box deltas
            ``(N, num_anchors * 4, H, W)`` and confidence logits ``(N, num_anchors, H, W)``.
        """
        cls_feat, reg_feat = x, x
        for cls_conv in self.cls_convs:
            cls_feat = cls_conv(cls_feat)
        for reg_conv in self.reg_convs:
            reg_feat = reg_conv(reg_feat)
        conf_feat = cls_feat if self.feature_source == 'cls' else reg_feat
        return self.retina_cls(cls_feat), self.retina_reg(reg_feat), self.retina_conf(conf_feat)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        conf_preds: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, list[Tensor]]:
        """Compute the losses of a batch.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            conf_preds: Confidence logits of each level.
            *args: Ground truth, meta information and ignored boxes, as in AnchorHead.
            **kwargs: The same by name.

        Returns:
            ``loss_cls``, ``loss_bbox`` and ``loss_conf``, each with one value per level.
        """
        # AnchorHead passes only box predictions to `loss_by_feat_single`, so pass pairs of boxes
        # and confidences and get back pairs of losses.
        losses = super().loss_by_feat(
            cls_scores, list(zip(bbox_preds, conf_preds, strict=True)), *args, **kwargs
        )
        losses_bbox, losses_conf = zip(*losses['loss_bbox'], strict=True)
        return {**losses, 'loss_bbox': list(losses_bbox), 'loss_conf': list(losses_conf)}

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
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
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
            The classification loss, and the pair of box and confidence losses.
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
        positive = ((labels >= 0) & (labels < self.num_classes)).reshape(-1)
        conf_pred = conf_pred.permute(0, 2, 3, 1).reshape(-1)[positive]
        iou_target = self._iou_with_target(
            bbox_pred.permute(0, 2, 3, 1).reshape(-1, 4)[positive],
            bbox_targets.reshape(-1, 4)[positive],
            anchors.reshape(-1, 4)[positive],
        )
        loss_conf = self.loss_conf(conf_pred.float(), iou_target, avg_factor=avg_factor)
        return loss_cls, (loss_bbox, loss_conf)

    def _iou_with_target(self, bbox_pred: Tensor, bbox_targets: Tensor, anchors: Tensor) -> Tensor:
        """Compute the IoU of each decoded box with its ground truth; all ``(num_positive, 4)``."""
        boxes = get_box_tensor(self.bbox_coder.decode(anchors, bbox_pred.float()))
        if not self.reg_decoded_bbox:
            bbox_targets = get_box_tensor(self.bbox_coder.decode(anchors, bbox_targets))
        iou = bbox_overlaps(boxes, bbox_targets, is_aligned=True)
        return iou.detach() if self.detach_iou_target else iou

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor],
        batch_img_metas: list[dict] | None = None,
        cfg: OptConfigType = None,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to detections, always in float32.

        Args:
            cls_scores: Class logits of each level, as :meth:`forward_single` returns them.
            bbox_preds: Box deltas of each level.
            score_factors: Confidence logits of each level.
            batch_img_metas: Meta information of each image.
            cfg: Config of the post-processing; ``test_cfg`` if None.
            **kwargs: ``rescale`` and ``with_nms``, as in BaseDenseHead.

        Returns:
            Boxes (corners in pixels), joint scores and labels for each image.
        """
        cls_scores, bbox_preds, confs = (
            [level.float() for level in levels]
            for levels in (cls_scores, bbox_preds, score_factors)
        )
        if self.select_by == 'joint':
            if self.conf_exponent > 0:
                score_thr = (self.test_cfg if cfg is None else cfg).get('score_thr', 0)
                cls_scores = [
                    joint_logits(cls_score, conf, self.conf_exponent, score_thr)
                    for cls_score, conf in zip(cls_scores, confs, strict=True)
                ]
        # Given score factors, the parent selects by class score and `_bbox_post_process` joins
        # both.
        factors = None if self.select_by == 'joint' else confs
        return super().predict_by_feat(
            cls_scores, bbox_preds, factors, batch_img_metas, cfg, **kwargs
        )

    def _bbox_post_process(self, results: InstanceData, **kwargs: Any) -> InstanceData:
        if 'score_factors' in results:  # the parent multiplies the two
            results.scores = results.scores ** (1 - self.conf_exponent)
            results.score_factors = results.score_factors**self.conf_exponent
        return super()._bbox_post_process(results, **kwargs)


@torch.no_grad()
def joint_logits(
    cls_logits: Tensor, conf_logits: Tensor, conf_exponent: float, score_thr: float = 0.0
) -> Tensor:
    """Fold the confidence into the class logits, so that their sigmoid is the joint score.

    Args:
        cls_logits: ``(N, num_anchors * num_classes, H, W)``, float32.
        conf_logits: ``(N, num_anchors, H, W)``, float32.
        conf_exponent: Exponent of the confidence; that of the class score is one minus it.
        score_thr: The joint score is set to 0 if the class score is too low for it to exceed this
            threshold. This applies to nearly all scores and makes the function fast.

    Returns:
        Logits of the joint score, with the shape of ``cls_logits``; infinite for 0 and 1.
    """
    num_classes = cls_logits.shape[1] // conf_logits.shape[1]
    least_cls = torch.tensor(max(score_thr, 0) ** (1 / (1 - conf_exponent)))
    image, channel, y, x = possible = (cls_logits > least_cls.logit()).nonzero(as_tuple=True)
    conf = conf_logits[image, channel // num_classes, y, x].sigmoid()
    scores = cls_logits[possible].sigmoid() ** (1 - conf_exponent) * conf**conf_exponent
    # With channels last, the parent need not copy to reorder the anchors.
    folded = torch.full_like(cls_logits, -torch.inf, memory_format=torch.channels_last)
    folded[possible] = scores.logit()
    return folded

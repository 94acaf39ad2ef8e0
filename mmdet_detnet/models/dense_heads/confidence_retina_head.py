"""RetinaNet-Conf: a RetinaNet that predicts how well each of its boxes fits the object.

Paper: Improvement of Classification in One-Stage Detector, https://arxiv.org/abs/2011.10465.
The authors' code is an edit of MMDetection 2.4.0, https://github.com/chenzuge1/RetinaNet-Conf
(commit 350d9f6): ``mmdet/models/dense_heads/{retina_head,anchor_head}.py``. Where it and the
paper's abstract leave a choice, this head follows the code, unless it says otherwise.
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
    """RetinaHead with one more convolution, which predicts the IoU of each anchor's box.

    The confidence is trained on positive anchors, to be the IoU of the anchor's decoded box with
    its ground truth. At test time a box has the joint score ``cls^(1 - a) * conf^a``, where
    ``a`` is ``conf_exponent``. It is formed on every level; the authors leave out the
    confidence on levels with no more than ``nms_pre`` anchors.

    ``forward`` returns one list more than RetinaHead's, of confidence logits: a tensor
    ``(N, num_anchors, H, W)`` for each level, where the class scores have
    ``(N, num_anchors * num_classes, H, W)``. Where mmdet hands the outputs of a head to
    :meth:`predict_by_feat`, they arrive as ``score_factors``.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Number of channels of the features.
        conf_exponent: Exponent ``a`` of the confidence in the joint score, in [0, 1); 0 gives
            RetinaHead's detections. The authors' code has 0.4, and in comments and a later
            project values from 0.3 to 0.7: it was tuned for each checkpoint. It can be set on a
            trained detector, for example by
            ``--cfg-options model.bbox_head.conf_exponent=0.5``.
        select_by: Which score passes ``score_thr`` and the ``nms_pre`` best of a level. 'joint', as
            the authors do: then ``score_thr=0.05`` lets many more boxes pass than in
            RetinaNet. 'cls': the class score, so that the boxes that reach the NMS are
            those of RetinaNet. Either way the NMS ranks by the joint score, and it is the
            score of the detections.
        feature_source: Which tower the confidence is predicted from: 'cls', as the authors do, or
            'reg', as IoU-aware RetinaNet (https://arxiv.org/abs/1912.05992) does.
        detach_iou_target: Whether the IoU is a constant to the confidence loss. False, as in the
            authors' code, lets the loss reach the regression tower: it raises the IoU of
            boxes whose confidence is above 0.5 and lowers that of the others.
        loss_conf: Config of the confidence loss. It has to take logits (``use_sigmoid=True``) and
            targets of one shape, and is averaged like the other two losses.
        **kwargs: The other arguments of RetinaHead and AnchorHead.

    Raises:
        ValueError: If an argument is outside what is listed here.
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
        """Exponent of the confidence in the joint score; may be set at any time."""
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
            ``loss_cls``, ``loss_bbox`` and ``loss_conf``, one value for each level.
        """
        # AnchorHead only hands the box predictions on to `loss_by_feat_single`, so pairs of
        # boxes and confidences pass through it, and pairs of their losses come back.
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
            box_and_conf: Box deltas and confidence logits, as of :meth:`forward_single`.
            anchors: Corners in pixels, ``(N, K, 4)``.
            labels: Class of each anchor, ``(N, K)``; ``num_classes`` is the background.
            label_weights: Weights of the classification, ``(N, K)``.
            bbox_targets: Deltas, or corners if ``reg_decoded_bbox``, ``(N, K, 4)``.
            bbox_weights: Weights of the regression, ``(N, K, 4)``.
            avg_factor: What each loss is divided by: the number of positives in the batch.

        Returns:
            The classification loss, and the losses of box and confidence.
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
        """Turn the outputs of the head into detections, in float32 whatever the outputs are.

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
        # With factors the parent selects by class, and `_bbox_post_process` joins the two.
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
    """Fold the confidence into the class logits: their sigmoid becomes the joint score.

    So top-k, threshold and NMS all work with the joint score, without code of their own.

    Args:
        cls_logits: ``(N, num_anchors * num_classes, H, W)``, float32.
        conf_logits: ``(N, num_anchors, H, W)``, float32.
        conf_exponent: Exponent of the confidence; that of the class score is one minus it.
        score_thr: Where the class score is so low that the joint one cannot exceed this, the
            latter becomes 0. That is nearly everywhere, and makes the function quick.

    Returns:
        Logits of the joint score, of the shape of ``cls_logits``; infinite at 0 and 1.
    """
    num_classes = cls_logits.shape[1] // conf_logits.shape[1]
    least_cls = torch.tensor(max(score_thr, 0) ** (1 / (1 - conf_exponent)))
    image, channel, y, x = possible = (cls_logits > least_cls.logit()).nonzero(as_tuple=True)
    conf = conf_logits[image, channel // num_classes, y, x].sigmoid()
    scores = cls_logits[possible].sigmoid() ** (1 - conf_exponent) * conf**conf_exponent
    # With channels last, the parent needs no copy to bring the anchors in order.
    folded = torch.full_like(cls_logits, -torch.inf, memory_format=torch.channels_last)
    folded[possible] = scores.logit()
    return folded

"""The confidence branch of RetinaNet-Conf, for any anchor head with two towers.

Paper: Improvement of Classification in One-Stage Detector, https://arxiv.org/abs/2011.10465. The
authors' code is an edit of MMDetection 2.4.0, https://github.com/chenzuge1/RetinaNet-Conf (commit
350d9f6): ``mmdet/models/dense_heads/{retina_head,anchor_head}.py``. Where the paper's abstract
leaves a choice, the branch follows this code, unless stated otherwise.
"""

from collections.abc import Iterable
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead
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

from .joint_score import joint_logits

FEATURE_SOURCES = ('cls', 'reg')
SELECTION_SCORES = ('joint', 'cls')

# Of one level: confidence logits, box deltas, anchors, classes and box targets.
Level = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class ConfidenceBranch(AnchorHead):
    """Mixin for anchor heads: an additional convolution predicts the IoU of each anchor's box.

    The confidence is trained on positive anchors to predict the IoU of the decoded box with its
    ground truth. At test time, a box has the joint score ``cls^(1 - a) * conf^a``, where ``a`` is
    ``conf_exponent``, on every level; the authors omit the confidence on levels with at most
    ``nms_pre`` anchors.

    A head with this mixin calls :meth:`make_conf_layer` in ``_init_layers``, :meth:`run_towers` in
    ``forward_single``, :meth:`loss_conf_by_levels` in ``loss_by_feat`` and
    :meth:`predict_by_joint_score` in ``predict_by_feat``.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Number of channels of the features.
        conf_exponent: Exponent ``a`` of the confidence in the joint score, in [0, 1); 0 gives
            the detections without confidence. The authors' code uses 0.4; its comments and a later
            project use 0.3 to 0.7, apparently tuned for each checkpoint. It can be set on a trained
            detector, for example with ``--cfg-options model.bbox_head.conf_exponent=0.5``.
        select_by: Score that ``score_thr`` and ``nms_pre`` apply to. 'joint', as in the authors'
            code, lets many more boxes pass ``score_thr=0.05`` than without confidence. 'cls', the
            class score, selects the same boxes as without confidence. In both cases, NMS ranks by
            the joint score, which is also the score of the detections.
        feature_source: Tower that the confidence is predicted from: 'cls', as in the authors' code,
            or 'reg', as in IoU-aware RetinaNet (https://arxiv.org/abs/1912.05992).
        detach_iou_target: Whether the IoU is a constant in the confidence loss. If False, as in the
            authors' code, the loss reaches the regression tower: it raises the IoU of boxes with a
            confidence above 0.5 and lowers that of the others.
        loss_conf: Config of the confidence loss. It must take logits (``use_sigmoid=True``) and
            targets of the same shape, and is averaged like the other losses.
        **kwargs: The other arguments of the head.

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

    def make_conf_layer(self, channels: int) -> nn.Conv2d:
        """Make the convolution that predicts a confidence for each anchor.

        Args:
            channels: Number of channels of the towers' features.

        Returns:
            The convolution.
        """
        return nn.Conv2d(channels, self.num_base_priors, kernel_size=3, padding=1)

    def run_towers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run both towers on one level.

        Args:
            x: Features, ``(N, in_channels, H, W)``.

        Returns:
            Outputs of the classification tower, of the regression tower, and of the one that the
            confidence is predicted from, ``(N, feat_channels, H, W)`` each.
        """
        cls_feat, reg_feat = x, x
        for cls_conv in self.cls_convs:
            cls_feat = cls_conv(cls_feat)
        for reg_conv in self.reg_convs:
            reg_feat = reg_conv(reg_feat)
        return cls_feat, reg_feat, cls_feat if self.feature_source == 'cls' else reg_feat

    def loss_conf_by_levels(self, levels: Iterable[Level], avg_factor: float) -> Tensor:
        """Compute the confidence loss of a batch.

        Args:
            levels: For each level with ``K`` anchors, ordered (H, W, anchor): confidence logits,
                ``(N, num_anchors, H, W)``; box deltas, ``(N, num_anchors * 4, H, W)``; anchors,
                corners in pixels, ``(N, K, 4)``; their classes, ``(N, K)``, ``num_classes`` for the
                background; and targets, deltas or, if ``reg_decoded_bbox``, corners, ``(N, K, 4)``.
            avg_factor: Divisor of the loss: the number of positives in the batch.

        Returns:
            The loss, a scalar.
        """
        # All levels at once, and indices instead of a mask: a GPU is waited for only once.
        confs, deltas, *others = zip(*levels, strict=True)
        conf_pred = torch.cat([conf.permute(0, 2, 3, 1).reshape(-1) for conf in confs])
        bbox_pred = torch.cat([delta.permute(0, 2, 3, 1).reshape(-1, 4) for delta in deltas])
        anchors, labels, bbox_targets = (
            torch.cat([level.flatten(0, 1) for level in other]) for other in others
        )
        positive = ((labels >= 0) & (labels < self.num_classes)).nonzero().squeeze(1)
        iou_target = self._iou_with_target(
            bbox_pred[positive], bbox_targets[positive], anchors[positive]
        )
        return self.loss_conf(conf_pred[positive].float(), iou_target, avg_factor=avg_factor)

    def _iou_with_target(self, bbox_pred: Tensor, bbox_targets: Tensor, anchors: Tensor) -> Tensor:
        """Compute the IoU of each decoded box with its ground truth; all ``(num_positive, 4)``."""
        boxes = get_box_tensor(self.bbox_coder.decode(anchors, bbox_pred.float()))
        if not self.reg_decoded_bbox:
            bbox_targets = get_box_tensor(self.bbox_coder.decode(anchors, bbox_targets))
        iou = bbox_overlaps(boxes, bbox_targets, is_aligned=True)
        return iou.detach() if self.detach_iou_target else iou

    def predict_by_joint_score(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        conf_preds: list[Tensor],
        factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: OptConfigType = None,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to detections, always in float32.

        Args:
            cls_scores: Class logits of each level, ``(N, num_anchors * num_classes, H, W)``.
            bbox_preds: Box deltas of each level, ``(N, num_anchors * 4, H, W)``.
            conf_preds: Confidence logits of each level, ``(N, num_anchors, H, W)``.
            factors: Logits of another factor of the score, ``(N, num_anchors, H, W)``, which
                ``score_thr`` and ``nms_pre`` ignore; None for no other.
            batch_img_metas: Meta information of each image.
            cfg: Config of the post-processing; the head's ``test_cfg`` if None.
            **kwargs: ``rescale`` and ``with_nms``, as in BaseDenseHead.

        Returns:
            Boxes (corners in pixels), scores and labels for each image.
        """
        cls_scores, bbox_preds, confs = (
            [level.float() for level in levels] for levels in (cls_scores, bbox_preds, conf_preds)
        )
        score_factors = [level.float() for level in factors or []]
        if self.select_by == 'cls':
            # The parent multiplies by these, after `_bbox_post_process` raised the class scores.
            score_factors = self._join_factors(confs, score_factors)
        elif self.conf_exponent > 0:
            score_thr = (self.test_cfg if cfg is None else cfg).get('score_thr', 0)
            cls_scores = [
                joint_logits(cls_score, conf, self.conf_exponent, score_thr)
                for cls_score, conf in zip(cls_scores, confs, strict=True)
            ]
        return super().predict_by_feat(
            cls_scores, bbox_preds, score_factors or None, batch_img_metas, cfg, **kwargs
        )

    def _join_factors(self, confs: list[Tensor], factors: list[Tensor]) -> list[Tensor]:
        """Compute the logits of the product of all factors but the class score."""
        joint = [conf.sigmoid() ** self.conf_exponent for conf in confs]
        if factors:
            joint = [one * factor.sigmoid() for one, factor in zip(joint, factors, strict=True)]
        return [level.logit() for level in joint]

    def _bbox_post_process(self, results: InstanceData, **kwargs: Any) -> InstanceData:
        if self.select_by == 'cls':
            results.scores = results.scores ** (1 - self.conf_exponent)
        return super()._bbox_post_process(results, **kwargs)

"""RetinaNet-Conf: a RetinaNet that predicts how well each box fits its object.

Paper: Improvement of Classification in One-Stage Detector, https://arxiv.org/abs/2011.10465. The
authors' code is an edit of MMDetection 2.4.0, https://github.com/chenzuge1/RetinaNet-Conf (commit
350d9f6): ``mmdet/models/dense_heads/{retina_head,anchor_head}.py``. Where the paper's abstract
leaves a choice, the heads follow this code, unless stated otherwise.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn import Scale
from mmdet.models.dense_heads import AnchorHead, ATSSHead, RetinaHead
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_detnet.arguments import (
    check_choice,
    check_flags,
    check_positive_integer,
    is_number,
    reject,
)
from mmdet_detnet.registry import MODELS

SELECTION_SCORES = ('joint', 'cls')
# How much lower than the exact threshold class scores are compared, for rounding.
SLACK = 1e-4


class ConfidenceInputs(NamedTuple):
    """What the confidence loss needs of one level with ``K`` anchors, ordered (H, W, anchor)."""

    conf_pred: Tensor  # logits, (N, num_anchors, H, W)
    bbox_pred: Tensor  # deltas, (N, num_anchors * 4, H, W)
    anchors: Tensor  # corners in pixels, (N, K, 4)
    labels: Tensor  # (N, K); num_classes is the background
    bbox_targets: Tensor  # deltas, or corners if reg_decoded_bbox, (N, K, 4)
    avg_factor: float  # number of positives in the batch


class ConfidenceBranch(AnchorHead):
    """Mixin for anchor heads: an additional convolution predicts the IoU of each anchor's box.

    The confidence is trained on positive anchors to predict the IoU of the decoded box with its
    ground truth. At test time, a box has the joint score ``cls^(1 - a) * conf^a``, where ``a`` is
    ``conf_exponent``, on every level; the authors omit the confidence on levels with at most
    ``nms_pre`` anchors.

    For each level, the heads return class logits ``(N, num_anchors * num_classes, H, W)``, box
    deltas ``(N, num_anchors * 4, H, W)``, and logits of the confidence ``(N, num_anchors, H, W)``.

    A head with this mixin calls :meth:`make_conf_layer` in ``_init_layers``, :meth:`run_towers` in
    ``forward_single``, :meth:`with_loss_conf` in ``loss_by_feat`` and
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
        check_choice(self, 'feature_source', feature_source, ('cls', 'reg'))
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
        """Make the convolution that predicts a confidence for each anchor."""
        return nn.Conv2d(channels, self.num_base_priors, kernel_size=3, padding=1)

    def run_towers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the towers of classification and regression on one level.

        Returns the outputs of both, and of the one that the confidence is predicted from.
        """
        cls_feat, reg_feat = x, x
        for cls_conv in self.cls_convs:
            cls_feat = cls_conv(cls_feat)
        for reg_conv in self.reg_convs:
            reg_feat = reg_conv(reg_feat)
        return cls_feat, reg_feat, cls_feat if self.feature_source == 'cls' else reg_feat

    def with_loss_conf(self, losses: dict[str, Any], name: str) -> dict[str, Any]:
        """Take the inputs of the confidence loss out of the losses, and add ``loss_conf``.

        MMDetection passes class logits and box deltas on to ``loss_by_feat_single``, but no third
        map. So :meth:`loss_by_feat` passes pairs instead of single maps, and gets back pairs.

        Args:
            losses: MMDetection's losses by name, one per level.
            name: The losses that have a pair per level: the loss and the inputs.

        Returns:
            The losses, and ``loss_conf``, a scalar for all levels.
        """
        level_losses, levels = zip(*losses[name], strict=True)
        return {**losses, name: list(level_losses), 'loss_conf': self._loss_conf(levels)}

    def _loss_conf(self, levels: Sequence[ConfidenceInputs]) -> Tensor:
        """Compute the confidence loss of a batch, a scalar."""
        # All levels at once, and indices instead of a mask: this synchronizes with the GPU once.
        conf_preds, bbox_preds, *others, avg_factors = zip(*levels, strict=True)
        conf_pred = torch.cat([conf.permute(0, 2, 3, 1).reshape(-1) for conf in conf_preds])
        bbox_pred = torch.cat([delta.permute(0, 2, 3, 1).reshape(-1, 4) for delta in bbox_preds])
        anchors, labels, bbox_targets = (
            torch.cat([level.flatten(0, 1) for level in other]) for other in others
        )
        positive = ((labels >= 0) & (labels < self.num_classes)).nonzero().squeeze(1)
        iou_target = self._iou_with_target(
            bbox_pred[positive], bbox_targets[positive], anchors[positive]
        )
        return self.loss_conf(conf_pred[positive].float(), iou_target, avg_factor=avg_factors[0])

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
            cls_scores: Class logits of each level.
            bbox_preds: Box deltas of each level.
            conf_preds: Confidence logits of each level.
            factors: Logits of another factor of the score, ``(N, num_anchors, H, W)``, which
                ``score_thr`` and ``nms_pre`` ignore; None for no other.
            batch_img_metas: As in BaseDenseHead.
            cfg: As in BaseDenseHead.
            **kwargs: ``rescale`` and ``with_nms``, as in BaseDenseHead.
        """
        score_factors = [level.float() for level in factors or []]
        confs = [level.float() for level in conf_preds]
        if self._selects_by_joint_score:
            # These maps stand for the score factors up to `_predict_by_feat_single`.
            maps = zip(confs, *([score_factors] if factors else []), strict=True)
            score_factors = [torch.cat(level, dim=1) for level in maps]
        elif self.select_by == 'cls':
            # The parent multiplies by these, after `_bbox_post_process` raised the class scores.
            score_factors = self._join_factors(confs, score_factors)
        return super().predict_by_feat(
            [level.float() for level in cls_scores],
            [level.float() for level in bbox_preds],
            score_factors or None,
            batch_img_metas,
            cfg,
            **kwargs,
        )

    @property
    def _selects_by_joint_score(self) -> bool:
        return self.select_by == 'joint' and self.conf_exponent > 0

    def _join_factors(self, confs: list[Tensor], factors: list[Tensor]) -> list[Tensor]:
        """Compute the logits of the product of all factors but the class score."""
        joint = [conf.sigmoid() ** self.conf_exponent for conf in confs]
        if factors:
            joint = [one * factor.sigmoid() for one, factor in zip(joint, factors, strict=True)]
        return [level.logit() for level in joint]

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: ConfigType | None,
        **kwargs: Any,
    ) -> InstanceData:
        levels: tuple[list, ...]
        levels = cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors
        if self._selects_by_joint_score:
            score_thr = (self.test_cfg if cfg is None else cfg).get('score_thr', 0)
            possible = [
                self._take_possible(*level, score_thr) for level in zip(*levels, strict=True)
            ]
            levels = tuple(map(list, zip(*possible, strict=True)))
        return super()._predict_by_feat_single(*levels, img_meta, cfg, **kwargs)

    def _take_possible(
        self, cls_score: Tensor, bbox_pred: Tensor, maps: Tensor, priors: Tensor, score_thr: float
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Take the anchors of one image and level whose joint score may exceed the threshold.

        These are few, so that the joint score costs less than the parent saves.

        Returns:
            Logits of the joint score, deltas, the other factor and priors, as if the ``K`` anchors
            were the only ones, on a map of ``K x 1``.
        """
        num_anchors = self.num_base_priors
        cls_score = cls_score.unflatten(0, (num_anchors, -1))  # (num_anchors, num_classes, H, W)
        bbox_pred = bbox_pred.unflatten(0, (num_anchors, -1))  # (num_anchors, 4, H, W)
        conf, *factors = maps.split(num_anchors)  # (num_anchors, H, W) each
        least = least_logits(conf, self.conf_exponent, score_thr)
        possible = cls_score.amax(1) > least
        # In the order of the priors.
        y, x, anchor = possible.permute(1, 2, 0).nonzero(as_tuple=True)  # (K,) each
        joint = joint_logits(
            cls_score[anchor, :, y, x], conf[anchor, y, x], self.conf_exponent, score_thr
        )
        factor = factors[0][anchor, y, x][None, :, None] if factors else None
        index = (y * conf.shape[2] + x) * num_anchors + anchor
        deltas = bbox_pred[anchor, :, y, x]  # (K, 4)
        return joint.t().unsqueeze(2), deltas.t().unsqueeze(2), factor, priors[index]

    def _bbox_post_process(self, results: InstanceData, **kwargs: Any) -> InstanceData:
        if self.select_by == 'cls':
            results.scores = results.scores ** (1 - self.conf_exponent)
        return super()._bbox_post_process(results, **kwargs)


def least_logits(conf_logits: Tensor, conf_exponent: float, score_thr: float) -> Tensor:
    """Compute how high class logits must be for their joint score to exceed a threshold.

    The result is a little too low, for rounding; it has the shape of ``conf_logits``.
    """
    conf = conf_logits.sigmoid() ** conf_exponent
    least = (max(score_thr, 0) / conf) ** (1 / (1 - conf_exponent)) * (1 - SLACK)
    return least.clamp(max=1).logit()


def joint_logits(
    cls_logits: Tensor,  # (K, num_classes), float32
    conf_logits: Tensor,  # (K,), float32
    conf_exponent: float,  # exponent of the confidence; that of the class score is one minus it
    score_thr: float = 0.0,  # the threshold
) -> Tensor:
    """Fold the confidence into the class logits, so that their sigmoid is the joint score.

    Scores that do not exceed the threshold may be 0 in the result, which makes it fast.
    """
    least = least_logits(conf_logits, conf_exponent, score_thr)
    anchor, label = (cls_logits > least[:, None]).nonzero(as_tuple=True)
    conf = conf_logits[anchor].sigmoid() ** conf_exponent
    scores = cls_logits[anchor, label].sigmoid() ** (1 - conf_exponent) * conf
    folded = torch.full_like(cls_logits, -torch.inf)
    folded[anchor, label] = scores.logit()
    return folded


@MODELS.register_module()
class ConfidenceRetinaHead(ConfidenceBranch, RetinaHead):
    """RetinaHead with the :class:`ConfidenceBranch`, which describes arguments and tensors.

    ``forward`` returns class logits, box deltas and confidence logits of each level. mmdet passes
    the latter to :meth:`predict_by_feat` as ``score_factors``.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.retina_conf = self.make_conf_layer(self.retina_cls.in_channels)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict on one level, with features ``(N, in_channels, H, W)``."""
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
        """Compute ``loss_cls`` and ``loss_bbox`` of each level, and ``loss_conf``, a scalar.

        The other arguments are those of AnchorHead.
        """
        pairs = list(zip(bbox_preds, conf_preds, strict=True))
        losses = super().loss_by_feat(cls_scores, pairs, *args, **kwargs)
        return self.with_loss_conf(losses, 'loss_bbox')

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_and_conf: tuple[Tensor, Tensor],
        anchors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: float,
    ) -> tuple[Tensor, tuple[Tensor, ConfidenceInputs]]:
        """Compute the losses of one level, see :meth:`ConfidenceBranch.with_loss_conf`."""
        bbox_pred, conf_pred = bbox_and_conf
        targets = (anchors, labels, label_weights, bbox_targets, bbox_weights)
        loss_cls, loss_bbox = super().loss_by_feat_single(
            cls_score, bbox_pred, *targets, avg_factor
        )
        level = ConfidenceInputs(conf_pred, bbox_pred, anchors, labels, bbox_targets, avg_factor)
        return loss_cls, (loss_bbox, level)

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to boxes, joint scores and labels for each image.

        ``score_factors`` are the confidence logits. The other arguments are those of BaseDenseHead.
        """
        return self.predict_by_joint_score(
            cls_scores, bbox_preds, score_factors, None, *args, **kwargs
        )


@MODELS.register_module()
class ConfidenceATSSHead(ConfidenceBranch, ATSSHead):
    """ATSSHead with the :class:`ConfidenceBranch`, a combination that no paper describes.

    ``forward`` returns class logits, box deltas, and logits of centerness and of confidence, all as
    in :class:`ConfidenceBranch`. The centerness is trained in any case; at test time, the joint
    score can replace it.

    Args:
        *args: ``num_classes`` and ``in_channels``, and what follows them in
            :class:`ConfidenceBranch`.
        multiply_centerness: Whether detections are ranked by the joint score times the centerness.
            False ignores centerness at test time: the author of IoU-aware RetinaNet reports that
            FCOS gained 0.4 AP when the predicted IoU replaced it (issue 4 of
            https://github.com/ShengkaiWu/IoU-aware-single-stage-object-detector). It can be set on
            a trained detector, for example with
            ``--cfg-options model.bbox_head.multiply_centerness=True``.
        **kwargs: The arguments of :class:`ConfidenceBranch` and of ATSSHead.
    """

    def __init__(self, *args: Any, multiply_centerness: bool = False, **kwargs: Any) -> None:
        check_flags(self, multiply_centerness=multiply_centerness)
        super().__init__(*args, **kwargs)
        self.multiply_centerness = multiply_centerness

    def _init_layers(self) -> None:
        super()._init_layers()
        self.atss_conf = self.make_conf_layer(self.atss_cls.in_channels)

    def forward_single(self, x: Tensor, scale: Scale) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict on one level; ``scale`` is its learned factor of the box deltas."""
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
        """Compute the losses as in ConfidenceRetinaHead, and ``loss_centerness`` of each level."""
        pairs = list(zip(centernesses, conf_preds, strict=True))
        losses = super().loss_by_feat(cls_scores, bbox_preds, pairs, *args, **kwargs)
        return self.with_loss_conf(losses, 'loss_centerness')

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
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ConfidenceInputs], Tensor]:
        """Compute the losses of one level, see :meth:`ConfidenceBranch.with_loss_conf`."""
        centerness, conf_pred = centerness_and_conf
        targets = (labels, label_weights, bbox_targets)
        # ATSS divides the box loss by the sum of the centerness targets.
        loss_cls, loss_bbox, loss_centerness, target_sum = super().loss_by_feat_single(
            anchors, cls_score, bbox_pred, centerness, *targets, avg_factor
        )
        level = ConfidenceInputs(conf_pred, bbox_pred, anchors, labels, bbox_targets, avg_factor)
        return loss_cls, loss_bbox, (loss_centerness, level), target_sum

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        conf_preds: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> InstanceList:
        """Convert the outputs of the head to detections, as in ConfidenceRetinaHead.

        Scores are multiplied by the centerness if ``multiply_centerness``.
        """
        factors = centernesses if self.multiply_centerness else None
        return self.predict_by_joint_score(
            cls_scores, bbox_preds, conf_preds, factors, *args, **kwargs
        )

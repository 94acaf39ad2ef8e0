"""The box head of Double-Head R-CNN and of Double-Head-Ext.

Paper: Rethinking Classification and Localization for Object Detection,
https://arxiv.org/abs/1904.06493. MMDetection has the plain Double-Head; Ext, in the paper the
better of the two, adds unfocused task supervision and fused class scores.
"""

import torch.nn.functional as F
from mmdet.models.layers import multiclass_nms
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.utils import ConfigType
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_detnet.models.arguments import check_choice, reject
from mmdet_detnet.models.layers import FUSIONS
from mmdet_detnet.registry import MODELS

from .base_double_head import BaseDoubleHead

# The authors' evaluation modes 3, 2, 1 and 0.
READOUTS = ('fused', 'fc_conv', 'fc', 'conv')


@MODELS.register_module()
class DoubleConvFCBBoxHead(BaseDoubleHead):
    """MMDetection's ``DoubleConvFCBBoxHead``, with non-local blocks and Double-Head-Ext.

    Every name of MMDetection's state dict is kept, so its checkpoint loads. Without the arguments
    that are new here, outputs and losses are those of MMDetection's head. Beyond it, ``conv_cfg``
    and ``norm_cfg`` reach the first block too, there may be no RoI at all, and
    ``cls_predictor_cfg``, ``reg_predictor_cfg``, losses with class channels of their own and other
    box coders work.

    Double-Head-Ext trains each head on both tasks. In the paper's terms the losses are weighted by

    =========  ==========================  =======================
    head       classification              regression
    =========  ==========================  =======================
    fc-head    w_fc * lambda_fc            w_fc * (1 - lambda_fc)
    conv-head  w_conv * (1 - lambda_conv)  w_conv * lambda_conv
    =========  ==========================  =======================

    where w_fc is the ``loss_weight`` of ``loss_cls`` and w_conv that of ``loss_bbox``. The paper
    has 2.0 and 2.5, and for Ext lambda_fc = 0.7 and lambda_conv = 0.8: 1.4, 0.6, 0.5 and 2.0. The
    losses of the unfocused tasks, those with 1 - lambda, are logged as ``unfocused_loss_cls`` (the
    conv-head's) and ``unfocused_loss_bbox`` (the fc-head's).

    Args:
        num_convs: Number of bottlenecks of the conv-head after the block that raises the
            channels, at least 1. The paper's 5 residual blocks are ``num_convs=4``.
        num_fcs: Number of layers of the fc-head, at least 1.
        num_nonlocal: Number of non-local blocks: one in front of each of the first bottlenecks,
            so at most ``num_convs``. The authors' models have 2, and ``num_convs=2``.
        lambda_fc: Share of classification in the fc-head's loss, in (0, 1]; 1 leaves the fc-head
            without box regression.
        lambda_conv: Share of regression in the conv-head's loss, in (0, 1]; 1 leaves the conv-head
            without classification.
        fusion: How the class probabilities of the two heads become one score. 'none' takes the
            fc-head's, 'complementary' is the paper's s_fc + s_conv (1 - s_fc), 'max' and 'average'
            are its alternatives. Needs ``lambda_conv`` below 1. May be set at test time.
        readout: Where detections come from. 'fused': class by ``fusion``, box from the conv-head.
            'fc_conv': class from the fc-head, box from the conv-head, whatever ``fusion`` is. 'fc'
            or 'conv': both from one head, which has to be trained on both. May be set at test
            time, as by ``--cfg-options model.roi_head.bbox_head.readout=conv``.
        loss_cls: Config of the classification loss.
        loss_bbox: Config of the regression loss.
        **kwargs: The arguments of :class:`BaseDoubleHead`: ``conv_cfg`` and ``norm_cfg``
            (plain batch norm sees the RoIs of one GPU), and those of MMDetection's head.

    Raises:
        ValueError: If an argument is outside what is listed here, or ``with_cls``, ``with_reg``
            or ``with_avg_pool`` is False.
    """

    def __init__(
        self,
        num_convs: int,
        num_fcs: int,
        num_nonlocal: int = 0,
        lambda_fc: float = 1.0,
        lambda_conv: float = 1.0,
        fusion: str = 'none',
        readout: str = 'fused',
        loss_cls: ConfigType = dict(type='CrossEntropyLoss', loss_weight=2.0),  # noqa: B006
        loss_bbox: ConfigType = dict(  # noqa: B006
            type='SmoothL1Loss', beta=1.0, loss_weight=2.5
        ),
        **kwargs: object,
    ) -> None:
        _check_shares(self, lambda_fc=lambda_fc, lambda_conv=lambda_conv)
        super().__init__(
            num_convs,
            num_fcs,
            num_nonlocal,
            loss_cls=_scaled(loss_cls, lambda_fc, loss_cls),
            loss_bbox=_scaled(loss_bbox, lambda_conv, loss_bbox),
            **kwargs,
        )
        self.unfocused_cls = self.unfocused_reg = None
        if lambda_conv < 1:
            loss = _scaled(loss_cls, 1 - lambda_conv, loss_bbox)
            self.unfocused_cls = self.make_predictors(
                self.conv_out_channels, with_reg=False, loss_cls=loss
            )
        if lambda_fc < 1:
            loss = _scaled(loss_bbox, 1 - lambda_fc, loss_cls)
            self.unfocused_reg = self.make_predictors(
                self.fc_out_channels, with_cls=False, loss_bbox=loss
            )
        self.fusion, self.readout = fusion, readout

    @property
    def fusion(self) -> str:
        """How the class probabilities become one score; may be set at any time."""
        return self._fusion

    @fusion.setter
    def fusion(self, value: str) -> None:
        check_choice(self, 'fusion', value, FUSIONS)
        if value != 'none' and self.unfocused_cls is None:
            allowed = "'none' unless the conv-head classifies (lambda_conv < 1)"
            reject(self, 'fusion', value, allowed)
        if value != 'none' and self.custom_cls_channels:
            reject(self, 'fusion', value, f"'none' with {type(self.loss_cls).__name__}")
        self._fusion = value

    @property
    def readout(self) -> str:
        """Where detections come from; may be set at any time."""
        return self._readout

    @readout.setter
    def readout(self, value: str) -> None:
        check_choice(self, 'readout', value, READOUTS)
        if value == 'fc' and self.unfocused_reg is None:
            reject(self, 'readout', value, 'another unless the fc-head regresses (lambda_fc < 1)')
        if value == 'conv' and self.unfocused_cls is None:
            reject(
                self, 'readout', value, 'another unless the conv-head classifies (lambda_conv < 1)'
            )
        self._readout = value

    @property
    def fuses_scores(self) -> bool:
        """Whether detections need the class scores of both heads."""
        return self.readout == 'fused' and self.fusion != 'none'

    @property
    def classifies_by_fc_alone(self) -> bool:
        """Whether the fc-head alone gives the scores, and the conv-head the boxes."""
        return self.readout in ('fused', 'fc_conv') and not self.fuses_scores

    def forward(self, x_cls: Tensor, x_reg: Tensor) -> tuple[Tensor | None, ...]:
        """Run both heads.

        Args:
            x_cls: RoI features for the fc-head, of shape (num_rois, in_channels, h, w).
            x_reg: RoI features for the conv-head, of the same shape.

        Returns:
            Class logits of the fc-head, (num_rois, num_classes + 1), and deltas of the conv-head,
            (num_rois, num_classes * 4), or 4 if ``reg_class_agnostic``. Where a lambda is
            below 1, then also the class logits of the conv-head and the deltas of the fc-head;
            one of the two is None if its head has only the one task.
        """
        fc, conv = self.fc_features(x_cls), self.conv_features(x_reg)
        focused = self.fc_cls(fc), self.fc_reg(conv)
        if self.unfocused_cls is None and self.unfocused_reg is None:
            return focused
        return (
            *focused,
            None if self.unfocused_cls is None else self.unfocused_cls.fc_cls(conv),
            None if self.unfocused_reg is None else self.unfocused_reg.fc_reg(fc),
        )

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: ConfigDict,
        unfocused: tuple[Tensor | None, ...] = (),
    ) -> dict:
        """Compute the losses of both heads on one set of targets.

        Args:
            cls_score: Class logits of the fc-head, as of :meth:`forward`.
            bbox_pred: Deltas of the conv-head.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            sampling_results: Sampled RoIs and their ground truth, of each image.
            rcnn_train_cfg: ``train_cfg`` of the RoI head.
            unfocused: What :meth:`forward` returns after the first two.

        Returns:
            The losses as ``loss_bbox``, of the same names in every batch, and ``bbox_targets``.
        """
        targets = self.get_targets(sampling_results, rcnn_train_cfg)
        outputs = [cls_score, bbox_pred, *unfocused]
        inputs = [rois, *targets]
        if len(rois) == 0:
            outputs, inputs = self._add_background_roi(outputs, inputs)
        cls_score, bbox_pred, *unfocused = outputs
        losses = self.loss(cls_score, bbox_pred, *inputs)
        if unfocused:
            losses |= self._unfocused_losses(*unfocused, inputs)
        return dict(loss_bbox=losses, bbox_targets=targets)

    def _unfocused_losses(
        self, conv_cls_score: Tensor | None, fc_bbox_pred: Tensor | None, inputs: list[Tensor]
    ) -> dict[str, Tensor]:
        losses = {}
        if self.unfocused_cls is not None:
            losses |= self.unfocused_cls.loss(conv_cls_score, None, *inputs)
        if self.unfocused_reg is not None:
            losses |= self.unfocused_reg.loss(None, fc_bbox_pred, *inputs)
        return {f'unfocused_{name}': value for name, value in losses.items()}

    def _add_background_roi(
        self, outputs: list[Tensor | None], inputs: list[Tensor]
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Add one RoI of no weight: without any, BBoxHead leaves out the classification loss."""
        rois, labels, *others = inputs
        outputs = [None if output is None else _add_row(output) for output in outputs]
        labels = _add_row(labels, self.num_classes)
        return outputs, [_add_row(rois), labels, *map(_add_row, others)]

    def class_probabilities(self, cls_score: Tensor) -> Tensor:
        """Turn class logits into what ``score_thr`` applies to.

        Args:
            cls_score: Class logits, of shape (num_rois, num_class_channels).

        Returns:
            Probabilities in float32, of shape (num_rois, num_classes + 1), background last.
        """
        if self.custom_cls_channels:
            return self.loss_cls.get_activation(cls_score.float())
        return F.softmax(cls_score.float(), dim=-1)

    def read_out(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        conv_cls_score: Tensor | None = None,
        fc_bbox_pred: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose among the outputs of :meth:`forward`, as ``readout`` says.

        Args:
            cls_score: Class logits of the fc-head.
            bbox_pred: Deltas of the conv-head.
            conv_cls_score: Class logits of the conv-head, if it classifies.
            fc_bbox_pred: Deltas of the fc-head, if it regresses.

        Returns:
            Class logits, or scores where :attr:`fuses_scores`, and deltas, both in float32.
        """
        if self.readout == 'fc':
            bbox_pred = fc_bbox_pred
        elif self.readout == 'conv':
            cls_score = conv_cls_score
        elif self.fuses_scores:
            probabilities = map(self.class_probabilities, (cls_score, conv_cls_score))
            cls_score = FUSIONS[self.fusion](*probabilities)
        return cls_score.float(), bbox_pred.float()

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: ConfigDict | None = None,
    ) -> InstanceData:
        if not self.fuses_scores or len(roi) == 0:
            return super()._predict_by_feat_single(
                roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg
            )
        # The parent would take the fused scores for logits, so it only decodes the boxes.
        results = super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale)
        if rcnn_test_cfg is None:
            results.scores = cls_score
            return results
        detections, labels = multiclass_nms(
            results.bboxes,
            cls_score,
            rcnn_test_cfg.score_thr,
            rcnn_test_cfg.nms,
            rcnn_test_cfg.max_per_img,
            box_dim=self.bbox_coder.encode_size,
        )
        return InstanceData(bboxes=detections[:, :-1], scores=detections[:, -1], labels=labels)


def _add_row(tensor: Tensor, value: float = 0) -> Tensor:
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, 1), value=value)


def _scaled(loss: ConfigType, share: float, weighted: ConfigType) -> ConfigType:
    """Give a loss a share of the weight that a loss, it or the other, has in its config."""
    if share == 1:
        return loss
    return {**loss, 'loss_weight': share * weighted.get('loss_weight', 1.0)}


def _check_shares(owner: nn.Module, **shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value <= 1:
            reject(owner, name, value, 'above 0 and at most 1')

"""The box head of Double-Head R-CNN and of Double-Head-Ext.

Paper: Rethinking Classification and Localization for Object Detection,
https://arxiv.org/abs/1904.06493, equations 2 to 4. MMDetection has the plain Double-Head. Ext, the
better of the two in the paper, trains each head on both tasks and fuses their class scores.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.utils import ConfigType, OptConfigType
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmdet_detnet.models.arguments import is_number, reject
from mmdet_detnet.registry import MODELS

from .base_double_head import BaseDoubleHead
from .double_head_readout import DoubleHeadReadout


@MODELS.register_module()
class DoubleConvFCBBoxHead(DoubleHeadReadout, BaseDoubleHead):
    """MMDetection's ``DoubleConvFCBBoxHead``, with non-local blocks and Double-Head-Ext.

    All names of MMDetection's state dict remain, so its checkpoints load. Without the new arguments
    and with the same losses, outputs and losses equal those of MMDetection's head, whose default
    losses have weight 1. In addition, ``conv_cfg`` and ``norm_cfg`` apply to the first block too,
    there may be no RoIs, outputs are at least float32, and ``cls_predictor_cfg``,
    ``reg_predictor_cfg``, losses with custom class channels and other box coders work.

    Double-Head-Ext trains each head on both tasks. In the paper's terms the losses are weighted by

    | head      | classification             | regression             |
    |-----------|----------------------------|------------------------|
    | fc-head   | w_fc * lambda_fc           | w_fc * (1 - lambda_fc) |
    | conv-head | w_conv * (1 - lambda_conv) | w_conv * lambda_conv   |

    where w_fc is the ``loss_weight`` of ``loss_cls`` and w_conv that of ``loss_bbox``. The paper
    uses 2.0 and 2.5, and for Ext lambda_fc = 0.7 and lambda_conv = 0.8, which gives 1.4, 0.6, 0.5
    and 2.0. The losses of the unfocused tasks (with 1 - lambda) are logged as
    ``unfocused_loss_cls`` (conv-head) and ``unfocused_loss_bbox`` (fc-head). To weight losses of
    another magnitude separately, pass the unfocused losses instead of the lambdas.

    Args:
        num_convs: Number of bottlenecks of the conv-head after the block that raises the
            channels, at least 1. The paper's 5 residual blocks are ``num_convs=4``.
        num_fcs: Number of layers of the fc-head, at least 1.
        num_nonlocal: Number of non-local blocks, one before each of the first bottlenecks, so at
            most ``num_convs``. The authors' models have 2, with ``num_convs=2``.
        lambda_fc: Weight of classification in the fc-head's loss, in (0, 1]; with 1, the fc-head
            does not regress boxes.
        lambda_conv: Weight of regression in the conv-head's loss, in (0, 1]; with 1, the conv-head
            does not classify.
        fusion: How to fuse the class probabilities of the heads: 'none' (the fc-head's),
            'complementary' (the paper's s_fc + s_conv (1 - s_fc)), 'max' or 'average'. All but
            'none' need ``lambda_conv`` below 1. Can be set at test time.
        readout: Source of the detections. 'fused': class by ``fusion``, box from the conv-head.
            'fc_conv': class from the fc-head, box from the conv-head, regardless of ``fusion``.
            'fc' or 'conv': both from one head, which must be trained on both. Can be set at test
            time, for example with ``--cfg-options model.roi_head.bbox_head.readout=conv``.
        loss_cls: Config of the classification loss.
        loss_bbox: Config of the regression loss.
        unfocused_loss_cls: Config of the conv-head's classification loss, weighted by its own
            ``loss_weight``; requires ``lambda_conv=1``. None to use ``lambda_conv``.
        unfocused_loss_bbox: Config of the fc-head's regression loss, likewise instead of
            ``lambda_fc``.
        **kwargs: Arguments of :class:`BaseDoubleHead` (``conv_cfg``, ``norm_cfg``; plain batch norm
            sees the RoIs of one GPU) and of MMDetection's head.

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
        unfocused_loss_cls: OptConfigType = None,
        unfocused_loss_bbox: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        _check_lambda(self, 'lambda_fc', lambda_fc, unfocused_loss_bbox)
        _check_lambda(self, 'lambda_conv', lambda_conv, unfocused_loss_cls)
        w_fc, w_conv = _weight(loss_cls), _weight(loss_bbox)
        super().__init__(
            num_convs,
            num_fcs,
            num_nonlocal,
            loss_cls=_reweighted(loss_cls, w_fc * lambda_fc),
            loss_bbox=_reweighted(loss_bbox, w_conv * lambda_conv),
            **kwargs,
        )
        if lambda_conv < 1:
            unfocused_loss_cls = _reweighted(loss_cls, w_conv * (1 - lambda_conv))
        if lambda_fc < 1:
            unfocused_loss_bbox = _reweighted(loss_bbox, w_fc * (1 - lambda_fc))
        self.unfocused_cls = self.unfocused_reg = None
        if unfocused_loss_cls is not None:
            self.unfocused_cls = self.make_predictors(
                self.conv_out_channels, with_reg=False, loss_cls=unfocused_loss_cls
            )
        if unfocused_loss_bbox is not None:
            self.unfocused_reg = self.make_predictors(
                self.fc_out_channels, with_cls=False, loss_bbox=unfocused_loss_bbox
            )
        self.fusion, self.readout = fusion, readout

    def forward(self, x_cls: Tensor, x_reg: Tensor) -> tuple[Tensor | None, ...]:
        """Run both heads.

        Args:
            x_cls: RoI features for the fc-head, of shape (num_rois, in_channels, h, w).
            x_reg: RoI features for the conv-head, of the same shape.

        Returns:
            Class logits of the fc-head, (num_rois, num_classes + 1), and deltas of the conv-head,
            (num_rois, num_classes * 4), or 4 if ``reg_class_agnostic``. With unfocused tasks, also
            the class logits of the conv-head and the deltas of the fc-head; either is None if its
            head has only one task.
        """
        cls_score, fc_bbox_pred = self.forward_fc(x_cls)
        conv_cls_score, bbox_pred = self.forward_conv(x_reg)
        if self.unfocused_cls is None and self.unfocused_reg is None:
            return cls_score, bbox_pred
        return cls_score, bbox_pred, conv_cls_score, fc_bbox_pred

    def forward_fc(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the fc-head.

        Args:
            x: RoI features, of shape (num_rois, in_channels, h, w).

        Returns:
            Class logits, and deltas or None, at least in float32.
        """
        features = self.fc_features(x)
        unfocused = self.unfocused_reg
        deltas = None if unfocused is None else _at_least_float32(unfocused.fc_reg(features))
        return _at_least_float32(self.fc_cls(features)), deltas

    def forward_conv(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run the conv-head.

        Args:
            x: RoI features, of shape (num_rois, in_channels, h, w).

        Returns:
            Class logits or None, and deltas, at least in float32.
        """
        features = self.conv_features(x)
        unfocused = self.unfocused_cls
        logits = None if unfocused is None else _at_least_float32(unfocused.fc_cls(features))
        return logits, _at_least_float32(self.fc_reg(features))

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: ConfigDict,
        unfocused: tuple[Tensor | None, ...] = (),
    ) -> dict:
        """Compute the losses of both heads with the same targets.

        Args:
            cls_score: Class logits of the fc-head, as returned by :meth:`forward`.
            bbox_pred: Deltas of the conv-head.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            sampling_results: Sampled RoIs and their ground truth for each image.
            rcnn_train_cfg: ``train_cfg`` of the RoI head.
            unfocused: The remaining outputs of :meth:`forward`.

        Returns:
            The losses as ``loss_bbox``, with the same names in every batch, and ``bbox_targets``.
        """
        targets = self.get_targets(sampling_results, rcnn_train_cfg)
        outputs = [cls_score, bbox_pred, *unfocused]
        inputs = [rois, *targets]
        if len(rois) == 0:
            outputs, inputs = self._add_background_roi(outputs, inputs)
        losses = self.loss(*outputs[:2], *inputs)
        if unfocused:
            losses |= self._unfocused_losses(inputs, *outputs[2:])
        return dict(loss_bbox=losses, bbox_targets=targets)

    def _unfocused_losses(
        self, inputs: list[Tensor], conv_cls_score: Tensor | None, fc_bbox_pred: Tensor | None
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if self.unfocused_cls is not None:
            losses |= self.unfocused_cls.loss(conv_cls_score, None, *inputs)
        if self.unfocused_reg is not None:
            losses |= self.unfocused_reg.loss(None, fc_bbox_pred, *inputs)
        return {f'unfocused_{name}': value for name, value in losses.items()}

    def _add_background_roi(
        self, outputs: list[Tensor | None], inputs: list[Tensor]
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Add one RoI of weight zero: without RoIs, BBoxHead omits the classification loss."""
        rois, labels, *others = inputs
        outputs = [None if output is None else _add_row(output) for output in outputs]
        labels = _add_row(labels, self.num_classes)
        return outputs, [_add_row(rois), labels, *map(_add_row, others)]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _add_row(tensor: Tensor, value: float = 0) -> Tensor:
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, 1), value=value)


def _weight(loss: ConfigType) -> float:
    return loss.get('loss_weight', 1.0)


def _reweighted(loss: ConfigType, weight: float) -> ConfigType:
    return loss if weight == _weight(loss) else {**loss, 'loss_weight': weight}


def _check_lambda(owner: nn.Module, name: str, value: float, own_loss: OptConfigType) -> None:
    if not is_number(value) or not 0 < value <= 1:
        reject(owner, name, value, 'above 0 and at most 1')
    if value < 1 and own_loss is not None:
        reject(owner, name, value, '1 if the unfocused loss is set')

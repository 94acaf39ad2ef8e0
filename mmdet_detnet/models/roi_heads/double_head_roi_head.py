"""RoI head of Double-Head R-CNN: two sizes of each RoI for two heads.

Paper: https://arxiv.org/abs/1904.06493. The conv-head's enlarged RoIs are not in the paper, but in
the authors' code and in MMDetection.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from mmdet.models.roi_heads import DoubleHeadRoIHead as PlainDoubleHeadRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor, nn

from mmdet_detnet.models.arguments import check_choice, check_flags, is_number, reject
from mmdet_detnet.registry import MODELS

from .positives import find_positives, is_synchronized_norm, mixes_rois
from .roi_pooling import RoIPooling
from .two_size_roi_head import TwoSizeRoIHead, check_double_head, find_survivors


@MODELS.register_module()
class DoubleHeadRoIHead(TwoSizeRoIHead, PlainDoubleHeadRoIHead):
    """MMDetection's ``DoubleHeadRoIHead``, faster at test time and also for Double-Head-Ext.

    If only the fc-head classifies, the conv-head and its RoIAlign run only on RoIs that can become
    detections. ``multiclass_nms`` first keeps the pairs of RoI and class whose score exceeds
    ``score_thr``, in the order of the RoIs, and ignores all other boxes. A RoI without such a class
    therefore needs no box, and the input of NMS stays the same. In evaluation mode, no layer of the
    conv-head mixes RoIs, so the remaining boxes change only by rounding, if a backend computes a
    smaller batch in another order.

    An enlarged RoI keeps its FPN level, so levels are computed once for both sizes.

    Args:
        reg_roi_scale_factor: Factor for width and height of the conv-head's RoIs, positive; 1.3 in
            the authors' code and in MMDetection.
        regress_survivors_only: Whether to skip RoIs at test time as described. Disabled
            automatically if all boxes or the conv-head's scores are needed: fused scores,
            ``readout`` 'conv', ``rcnn_test_cfg=None``, ONNX export, a box head in training mode.
        regress_positives_only: Whether the conv-head trains only on positive RoIs, which is faster;
            the regression loss ignores the others. 'auto' does so if losses and gradients stay the
            same: no layer of the conv-head mixes RoIs (group norm, batch norm in evaluation mode),
            and it does not classify. True departs from the paper, because the conv-head's batch
            norm then sees only positive RoIs. Not allowed with Ext, whose conv-head classifies all
            RoIs, or with SyncBN.
        gate_score_thr: With fused scores at test time, RoIs without a class above this fc-head
            probability skip the conv-head. They keep the scores of the fc-head and, if it
            regresses, its boxes. This is an approximation: the conv-head might have raised their
            scores. None, as in the paper, skips nothing.
        **kwargs: Arguments of ``StandardRoIHead``. ``bbox_head`` must be this package's
            :class:`DoubleConvFCBBoxHead`.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(
        self,
        reg_roi_scale_factor: float,
        regress_survivors_only: bool = True,
        regress_positives_only: bool | str = 'auto',
        gate_score_thr: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_flags(self, regress_survivors_only=regress_survivors_only)
        super().__init__(reg_roi_scale_factor=reg_roi_scale_factor, **kwargs)
        check_double_head(self, self.bbox_head, reg_roi_scale_factor)
        check_choice(self, 'regress_positives_only', regress_positives_only, (True, False, 'auto'))
        if regress_positives_only is True:
            self._check_positives_suffice()
        if gate_score_thr is not None and not (
            is_number(gate_score_thr) and 0 <= gate_score_thr <= 1
        ):
            reject(self, 'gate_score_thr', gate_score_thr, 'in 0 to 1, or None')
        self.regress_survivors_only = regress_survivors_only
        self.regress_positives_only = regress_positives_only
        self.gate_score_thr = gate_score_thr

    def _check_positives_suffice(self) -> None:
        allowed = "False or 'auto' "
        if self.bbox_head.unfocused_cls is not None:
            allowed += 'if the conv-head classifies (lambda_conv < 1)'
        elif any(map(is_synchronized_norm, self._conv_layers())):
            allowed += 'with SyncBN: a process without positives would block the others'
        else:
            return
        reject(self, 'regress_positives_only', True, allowed)

    def _conv_layers(self) -> Iterator[nn.Module]:
        """Iterate over all layers between the RoI features and the deltas."""
        shared = [self.shared_head] if self.with_shared_head else []
        for part in (*shared, *self.bbox_head.conv_parts):
            yield from part.modules()

    def _trains_on_positives_only(self) -> bool:
        if self.regress_positives_only == 'auto':
            needs_all = self.bbox_head.unfocused_cls is not None
            return not needs_all and not any(map(mixes_rois, self._conv_layers()))
        if self.regress_positives_only:
            self._check_positives_suffice()
        return bool(self.regress_positives_only)

    def _bbox_forward(
        self, x: tuple[Tensor, ...], rois: Tensor, regressed: Tensor | None = None
    ) -> dict:
        """Run both heads.

        Args:
            x: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            regressed: Indices of the RoIs to regress; the others get deltas of zero. None for all.

        Returns:
            ``cls_score``, ``bbox_pred``, ``unfocused`` (the additional outputs of Ext, or None) and
            ``bbox_feats``, the features of the original RoIs.
        """
        choose = None if regressed is None else lambda cls_score: regressed
        return self.run_heads_on_all(self.bbox_roi_extractor, self.bbox_head, x, rois, choose)

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """Run both heads and compute their losses, as ``StandardRoIHead`` does.

        Args:
            x: Feature maps, the highest resolution first.
            sampling_results: Sampled RoIs and their ground truth for each image.

        Returns:
            Output of :meth:`_bbox_forward`, the losses as ``loss_bbox``, and ``bbox_targets``.
        """
        rois = bbox2roi([result.priors for result in sampling_results])
        regressed = find_positives(sampling_results) if self._trains_on_positives_only() else None
        results = self._bbox_forward(x, rois, regressed)
        losses = self.bbox_head.loss_and_target(
            results['cls_score'],
            results['bbox_pred'],
            rois,
            sampling_results,
            self.train_cfg,
            unfocused=results['unfocused'],
        )
        return {**results, **losses}

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the objects of each image.

        Args:
            x: Feature maps, the highest resolution first.
            batch_img_metas: Meta information of each image.
            rpn_results_list: Proposals of each image.
            rcnn_test_cfg: Config of the post-processing; None returns scores and boxes of all RoIs.
            rescale: Whether to return boxes in coordinates of the original image.

        Returns:
            Boxes (corners in pixels), scores and labels for each image.
        """
        proposals = [results.bboxes for results in rpn_results_list]
        rois = bbox2roi(proposals)
        if len(rois) == 0:
            return super().predict_bbox(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
            )
        rois, cls_scores, bbox_preds = self._read_out(x, rois, rcnn_test_cfg)
        sizes = torch.bincount(rois[:, 0].long(), minlength=len(proposals)).tolist()
        return self.bbox_head.predict_by_feat(
            rois.split(sizes),
            cls_scores.split(sizes),
            bbox_preds.split(sizes),
            batch_img_metas,
            rcnn_test_cfg,
            rescale,
        )

    def _read_out(
        self, x: tuple[Tensor, ...], rois: Tensor, rcnn_test_cfg: ConfigType | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the inputs of the detections, skipping unneeded work.

        Returns:
            The RoIs that may become detections, their class logits (or scores, if the head fuses
            them) and their deltas.
        """
        head = self.bbox_head
        if head.readout == 'fc':
            return rois, *head.forward_fc(
                self._share(RoIPooling(self.bbox_roi_extractor, x, rois).pool())
            )
        if rcnn_test_cfg is not None and self._may_leave_out_rois():
            if head.classifies_by_fc_alone and self.regress_survivors_only:
                return self._read_out_survivors(x, rois, rcnn_test_cfg.score_thr)
            if head.fuses_scores and self.gate_score_thr is not None:
                return self._read_out_gated(x, rois, self.gate_score_thr)
        results = self._bbox_forward(x, rois)
        conv_cls_score, _ = results['unfocused']
        return rois, head.read_out(results['cls_score'], conv_cls_score), results['bbox_pred']

    def _may_leave_out_rois(self) -> bool:
        return not self.bbox_head.training and not torch.onnx.is_in_onnx_export()

    def _read_out_survivors(
        self, x: tuple[Tensor, ...], rois: Tensor, score_thr: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep and regress the RoIs with a class above the threshold."""
        choose = partial(find_survivors, self.bbox_head, score_thr=score_thr)
        results = self.run_heads(self.bbox_roi_extractor, self.bbox_head, x, rois, choose)
        survivors = results['chosen']
        return rois[survivors], results['cls_score'][survivors], results['bbox_pred']

    def _read_out_gated(
        self, x: tuple[Tensor, ...], rois: Tensor, score_thr: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fuse the scores of RoIs that pass the gate; the others keep those of the fc-head."""
        head = self.bbox_head
        choose = partial(find_survivors, head, score_thr=score_thr)
        results = self.run_heads(self.bbox_roi_extractor, head, x, rois, choose)
        (conv_cls_score, deltas), chosen = results['unfocused'], results['chosen']
        # (num_chosen, num_classes + 1)
        fused = head.read_out(results['cls_score'][chosen], conv_cls_score)
        scores = head.class_probabilities(results['cls_score']).index_copy(0, chosen, fused)
        if deltas is None:
            deltas = results['bbox_pred'].new_zeros(len(rois), results['bbox_pred'].shape[1])
        return rois, scores, deltas.index_copy(0, chosen, results['bbox_pred'])

"""RoI heads with two heads on two sizes of each RoI: Double-Head R-CNN, and in a cascade.

The conv-head's enlarged RoIs are not in the paper, but in the authors' code and in MMDetection.
Neither paper describes the cascade; Cascade R-CNN's is https://arxiv.org/abs/1712.00726.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmdet.models.roi_heads import BaseRoIHead, CascadeRoIHead
from mmdet.models.roi_heads import DoubleHeadRoIHead as PlainDoubleHeadRoIHead
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_detnet.arguments import check_choice, check_flags, is_number, reject
from mmdet_detnet.registry import MODELS

from .bbox_head import DoubleConvFCBBoxHead


class TwoSizeRoIHead(BaseRoIHead):
    """Mixin for RoI heads of MMDetection: pools RoIs as they are or enlarged.

    List it before them among the bases.

    Attributes:
        reg_roi_scale_factor: Factor for width and height of the conv-head's RoIs.
    """

    reg_roi_scale_factor: float

    def pool(
        self,
        extractor: BaseRoIExtractor,
        x: tuple[Tensor, ...],
        rois: Tensor,
        scale_factor: float | None = None,
    ) -> Tensor:
        """Pool RoIs from feature maps, and run the shared head if there is one.

        ``rois`` are indices of images and corners in pixels, of shape (num_rois, 5). They are
        enlarged by ``scale_factor`` about their centers.
        """
        feats = extractor(x[: extractor.num_inputs], rois, roi_scale_factor=scale_factor)
        return self.shared_head(feats) if self.with_shared_head else feats

    def run_heads(
        self,
        extractor: BaseRoIExtractor,
        bbox_head: DoubleConvFCBBoxHead,
        x: tuple[Tensor, ...],
        rois: Tensor,
        choose: Callable[[Tensor], Tensor | None],
    ) -> dict[str, Tensor | None]:
        """Run both heads on RoIs ``(num_rois, 5)``.

        ``choose`` takes the fc-head's class logits, and returns the indices of the RoIs of the
        conv-head, None for all.
        """
        cls_feats = self.pool(extractor, x, rois)
        cls_score, fc_bbox_pred = bbox_head.forward_fc(cls_feats)
        chosen = choose(cls_score)
        conv_cls_score, bbox_pred = self.run_conv_head(extractor, bbox_head, x, rois, chosen)
        return dict(
            cls_score=cls_score,
            bbox_pred=bbox_pred,
            conv_cls_score=conv_cls_score,
            fc_bbox_pred=fc_bbox_pred,
            bbox_feats=cls_feats,
        )

    def run_conv_head(
        self,
        extractor: BaseRoIExtractor,
        bbox_head: DoubleConvFCBBoxHead,
        x: tuple[Tensor, ...],
        rois: Tensor,
        chosen: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Run the conv-head on the enlarged RoIs with the indices ``chosen``, None for all.

        Returns:
            Class logits of the chosen RoIs, or None if the conv-head does not classify; and deltas
            of all RoIs, zero for those that are not chosen.
        """
        kept = rois if chosen is None else rois[chosen]
        reg_feats = self.pool(extractor, x, kept, self.reg_roi_scale_factor)
        conv_cls_score, bbox_pred = bbox_head.forward_conv(reg_feats)
        if chosen is not None:
            all_deltas = bbox_pred.new_zeros(len(rois), bbox_pred.shape[1])
            bbox_pred = all_deltas.index_copy(0, chosen, bbox_pred)
        return conv_cls_score, bbox_pred

    def check_double_head(self, bbox_head: nn.Module, reg_roi_scale_factor: float) -> None:
        """Raise ValueError if a box head or the scale factor is not allowed."""
        if not isinstance(bbox_head, DoubleConvFCBBoxHead):
            reject(self, 'bbox_head', type(bbox_head), 'a mmdet_detnet.DoubleConvFCBBoxHead')
        if not is_number(reg_roi_scale_factor) or reg_roi_scale_factor <= 0:
            reject(self, 'reg_roi_scale_factor', reg_roi_scale_factor, 'a positive number')


@MODELS.register_module()
class DoubleHeadRoIHead(TwoSizeRoIHead, PlainDoubleHeadRoIHead):
    """MMDetection's ``DoubleHeadRoIHead``, faster at test time and also for Double-Head-Ext.

    If only the fc-head classifies, the conv-head and its RoIAlign run only on RoIs that can become
    detections. ``multiclass_nms`` first keeps the pairs of RoI and class whose score exceeds
    ``score_thr``, in the order of the RoIs, and ignores all other boxes. A RoI without such a class
    therefore needs no box, and the input of NMS stays the same. In evaluation mode, no layer of the
    conv-head mixes RoIs, so the remaining boxes change only by rounding, if a backend computes a
    smaller batch in another order.

    With mmdet's ``SingleRoIExtractor``, results are mmdet's; the configs of this package have
    :class:`~mmdet_detnet.models.PreciseRoIExtractor`.

    Args:
        reg_roi_scale_factor: Factor for width and height of the conv-head's RoIs, positive; 1.3 in
            the authors' code and in MMDetection. An enlarged RoI keeps its FPN level.
        regress_survivors_only: Whether to skip RoIs at test time as described. Disabled
            automatically if all boxes or the conv-head's scores are needed: fused scores,
            ``fusion`` 'conv', ``rcnn_test_cfg=None``, ONNX export, a box head in training mode.
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
        self.check_double_head(self.bbox_head, reg_roi_scale_factor)
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

    def _bbox_forward(
        self, x: tuple[Tensor, ...], rois: Tensor, regressed: Tensor | None = None
    ) -> dict[str, Tensor | None]:
        """Run both heads; ``regressed`` are the indices of the conv-head's RoIs, None for all."""
        extractor, head = self.bbox_roi_extractor, self.bbox_head
        return self.run_heads(extractor, head, x, rois, lambda cls_score: regressed)

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """Run both heads and compute their losses, as ``StandardRoIHead`` does."""
        rois = bbox2roi([result.priors for result in sampling_results])
        regressed = find_positives(sampling_results) if self._trains_on_positives_only() else None
        results = self._bbox_forward(x, rois, regressed)
        losses = _losses(self.bbox_head, results, rois, sampling_results, self.train_cfg)
        return {**results, **losses}

    def _trains_on_positives_only(self) -> bool:
        if self.regress_positives_only == 'auto':
            needs_all = self.bbox_head.unfocused_cls is not None
            return not needs_all and not any(map(mixes_rois, self._conv_layers()))
        if self.regress_positives_only:
            self._check_positives_suffice()  # again: norms may have been converted to SyncBN
        return bool(self.regress_positives_only)

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

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the objects of each image, as ``StandardRoIHead`` does.

        Without ``rcnn_test_cfg``, scores and boxes of all RoIs are returned.
        """
        proposals = [results.bboxes for results in rpn_results_list]
        rois = bbox2roi(proposals)
        if len(rois) == 0:
            return super().predict_bbox(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
            )
        rois, cls_scores, bbox_preds = self.score_rois(x, rois, rcnn_test_cfg)
        sizes = torch.bincount(rois[:, 0].long(), minlength=len(proposals)).tolist()
        return self.bbox_head.predict_by_feat(
            rois.split(sizes),
            cls_scores.split(sizes),
            bbox_preds.split(sizes),
            batch_img_metas,
            rcnn_test_cfg,
            rescale,
        )

    def score_rois(
        self, x: tuple[Tensor, ...], rois: Tensor, rcnn_test_cfg: ConfigType | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what detections are made of: pool, fc-head, choose, pool, conv-head, scores.

        Returns:
            The RoIs that may become detections (all without ``rcnn_test_cfg``), their class logits
            (or scores, if the box head fuses them) and their deltas.
        """
        extractor, head = self.bbox_roi_extractor, self.bbox_head
        cls_score, fc_bbox_pred = head.forward_fc(self.pool(extractor, x, rois))
        if head.fusion == 'fc':
            return rois, cls_score, fc_bbox_pred

        score_thr = self._conv_head_score_thr(rcnn_test_cfg)
        chosen = None if score_thr is None else head.find_above(cls_score, score_thr)
        if chosen is not None and not head.fuses_scores:
            rois, cls_score, chosen = rois[chosen], cls_score[chosen], None

        conv_cls_score, bbox_pred = self.run_conv_head(extractor, head, x, rois, chosen)
        if chosen is None:
            return rois, head.fuse(cls_score, conv_cls_score), bbox_pred
        # Behind the gate, RoIs keep the fc-head's scores and, if it regresses, its boxes.
        fused = head.fuse(cls_score[chosen], conv_cls_score)  # (num_chosen, num_classes + 1)
        scores = head.class_probabilities(cls_score).index_copy(0, chosen, fused)
        if fc_bbox_pred is not None:
            bbox_pred = fc_bbox_pred.index_copy(0, chosen, bbox_pred[chosen])
        return rois, scores, bbox_pred

    def _conv_head_score_thr(self, rcnn_test_cfg: ConfigType | None) -> float | None:
        """Return the fc-head's score above which RoIs get to the conv-head; None for all RoIs."""
        if rcnn_test_cfg is None or self.bbox_head.training or torch.onnx.is_in_onnx_export():
            return None
        if self.bbox_head.fuses_scores:
            return self.gate_score_thr
        skips = self.bbox_head.fusion == 'none' and self.regress_survivors_only
        return rcnn_test_cfg.score_thr if skips else None


@MODELS.register_module()
class CascadeDoubleHeadRoIHead(TwoSizeRoIHead, CascadeRoIHead):
    """MMDetection's ``CascadeRoIHead`` with two heads and two sizes of each RoI in every stage.

    Classes come from the fc-heads, whose logits are averaged over the stages as in Cascade R-CNN,
    and boxes from the conv-heads. The heads may be trained on both tasks (``lambda_fc`` and
    ``lambda_conv`` below 1), but scores are not fused: a stage passes on one set of class logits.

    Args:
        reg_roi_scale_factor: Factor for width and height of the conv-head's RoIs, positive.
        regress_survivors_only: Whether, at test time, the last stage regresses only RoIs whose
            averaged score exceeds the threshold; the others cannot become detections.
        **kwargs: Arguments of ``CascadeRoIHead``. Every ``bbox_head`` must be a
            ``mmdet_detnet.DoubleConvFCBBoxHead`` with ``fusion='none'``.

    Raises:
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(
        self, reg_roi_scale_factor: float, regress_survivors_only: bool = True, **kwargs: Any
    ) -> None:
        _check_number_of_stages(self, **kwargs)
        check_flags(self, regress_survivors_only=regress_survivors_only)
        super().__init__(**kwargs)
        for bbox_head in self.bbox_head:
            self.check_double_head(bbox_head, reg_roi_scale_factor)
            if bbox_head.fusion != 'none':
                reject(self, "a bbox_head's fusion", bbox_head.fusion, "'none'")
        self.reg_roi_scale_factor = reg_roi_scale_factor
        self.regress_survivors_only = regress_survivors_only

    def _bbox_forward(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        rois: Tensor,
        earlier_scores: list[Tensor] | None = None,
        score_thr: float = 0,
    ) -> dict[str, Tensor | None]:
        """Run both heads of a stage.

        Each stage appends its class logits to ``earlier_scores``, and the last one regresses only
        RoIs whose averaged score exceeds ``score_thr``; all with None.
        """
        extractor, head = self.bbox_roi_extractor[stage], self.bbox_head[stage]

        def choose(cls_score: Tensor) -> Tensor | None:
            if earlier_scores is None:
                return None
            earlier_scores.append(cls_score)
            if stage < self.num_stages - 1:
                return None
            # In the order of CascadeRoIHead, so that averages equal its to the last bit.
            return head.find_above(sum(earlier_scores) / float(self.num_stages), score_thr)

        return self.run_heads(extractor, head, x, rois, choose)

    def bbox_loss(
        self, stage: int, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]
    ) -> dict:
        """Run both heads of a stage and compute their losses, as ``CascadeRoIHead`` does."""
        rois = bbox2roi([result.priors for result in sampling_results])
        results = self._bbox_forward(stage, x, rois)
        head, cfg = self.bbox_head[stage], self.train_cfg[stage]
        return {**results, 'rois': rois, **_losses(head, results, rois, sampling_results, cfg)}

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the objects of each image, see :meth:`DoubleHeadRoIHead.predict_bbox`."""
        options = {}
        if self.regress_survivors_only and rcnn_test_cfg is not None and not self.training:
            # MMDetection passes these on to `_bbox_forward` of each stage.
            options = dict(earlier_scores=[], score_thr=rcnn_test_cfg.score_thr)
        return super().predict_bbox(
            x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale, **options
        )


def _losses(
    bbox_head: DoubleConvFCBBoxHead,
    results: dict[str, Tensor | None],
    rois: Tensor,
    sampling_results: list[SamplingResult],
    train_cfg: ConfigType,
) -> dict:
    names = ('cls_score', 'bbox_pred', 'conv_cls_score', 'fc_bbox_pred')
    outputs = {name: results[name] for name in names}
    return bbox_head.loss_and_target(
        rois=rois, sampling_results=sampling_results, rcnn_train_cfg=train_cfg, **outputs
    )


def find_positives(sampling_results: list[SamplingResult]) -> Tensor:
    """List the indices of the positive RoIs of a batch; they come first in each image."""
    flags = [
        torch.arange(len(result.priors), device=result.priors.device) < len(result.pos_priors)
        for result in sampling_results
    ]
    return torch.cat(flags).nonzero().squeeze(1)


def mixes_rois(layer: nn.Module) -> bool:
    """Return whether a layer's output for one RoI depends on the other RoIs."""
    return layer.training and (isinstance(layer, _BatchNorm) or is_synchronized_norm(layer))


def is_synchronized_norm(layer: nn.Module) -> bool:
    """Return whether a layer shares statistics with other processes: torch's or mmcv's SyncBN."""
    return layer.training and type(layer).__name__ == 'SyncBatchNorm'


def _check_number_of_stages(
    owner: CascadeDoubleHeadRoIHead, num_stages: int, **options: object
) -> None:
    """Raise ValueError unless each list option has one entry per stage."""
    for name in ('stage_loss_weights', 'bbox_head', 'bbox_roi_extractor', 'train_cfg'):
        value = options.get(name)
        if isinstance(value, (list, tuple)) and len(value) != num_stages:
            reject(owner, f'the length of {name}', len(value), f'num_stages = {num_stages}')

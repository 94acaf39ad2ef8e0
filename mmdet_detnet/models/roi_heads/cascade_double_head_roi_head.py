"""Cascade R-CNN with Double-Head in every stage.

Papers: https://arxiv.org/abs/1712.00726 and https://arxiv.org/abs/1904.06493. Neither describes the
combination.
"""

from functools import partial
from typing import Any

from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from mmdet_detnet.models.arguments import check_flags, reject
from mmdet_detnet.registry import MODELS

from .two_size_roi_head import TwoSizeRoIHead, check_double_head, find_survivors


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
            ``mmdet_detnet.DoubleConvFCBBoxHead``.

    Raises:
        ValueError: If an argument has a value that is not allowed, or a head fuses scores or reads
            both tasks out of one head.
    """

    def __init__(
        self, reg_roi_scale_factor: float, regress_survivors_only: bool = True, **kwargs: Any
    ) -> None:
        _check_stages(self, **kwargs)
        check_flags(self, regress_survivors_only=regress_survivors_only)
        super().__init__(**kwargs)
        for bbox_head in self.bbox_head:
            check_double_head(self, bbox_head, reg_roi_scale_factor)
            if not bbox_head.classifies_by_fc_alone:
                reject(
                    self,
                    "a bbox_head's (fusion, readout)",
                    (bbox_head.fusion, bbox_head.readout),
                    "'none' and 'fused' or 'fc_conv'",
                )
        self.reg_roi_scale_factor = reg_roi_scale_factor
        self.regress_survivors_only = regress_survivors_only

    def _bbox_forward(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        rois: Tensor,
        earlier_scores: list[Tensor] | None = None,
        score_thr: float = 0,
    ) -> dict:
        """Run both heads of a stage.

        Args:
            stage: Index of the stage.
            x: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            earlier_scores: Class logits of the previous stages; a stage appends its own, and the
                last one regresses only RoIs whose averaged score exceeds ``score_thr``. None to
                regress all.
            score_thr: Score threshold of the detections.

        Returns:
            ``cls_score``, ``bbox_pred``, ``unfocused`` (outputs for the unfocused tasks) and
            ``bbox_feats``, the features of the original RoIs.
        """
        head = self.bbox_head[stage]
        run = partial(self.run_heads_on_all, self.bbox_roi_extractor[stage], head, x, rois)
        if earlier_scores is None:
            return run()
        if stage < self.num_stages - 1:
            results = run()
            earlier_scores.append(results['cls_score'])
            return results

        def choose(cls_score: Tensor) -> Tensor:
            # In the order of CascadeRoIHead, so that averages equal its to the last bit.
            average = sum([*earlier_scores, cls_score]) / float(self.num_stages)
            return find_survivors(head, average, score_thr)

        return run(choose)

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the objects of each image, see :meth:`.DoubleHeadRoIHead.predict_bbox`."""
        options = {}
        if self.regress_survivors_only and rcnn_test_cfg is not None and not self.training:
            options = dict(earlier_scores=[], score_thr=rcnn_test_cfg.score_thr)
        return super().predict_bbox(
            x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale, **options
        )

    def bbox_loss(
        self, stage: int, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]
    ) -> dict:
        """Run both heads of a stage and compute their losses, as ``CascadeRoIHead`` does.

        Args:
            stage: Index of the stage.
            x: Feature maps, the highest resolution first.
            sampling_results: Sampled RoIs and their ground truth for each image.

        Returns:
            Output of :meth:`_bbox_forward`, ``rois``, the losses as ``loss_bbox``, and
            ``bbox_targets``.
        """
        rois = bbox2roi([result.priors for result in sampling_results])
        results = self._bbox_forward(stage, x, rois)
        losses = self.bbox_head[stage].loss_and_target(
            results['cls_score'],
            results['bbox_pred'],
            rois,
            sampling_results,
            self.train_cfg[stage],
            unfocused=results['unfocused'],
        )
        return {**results, 'rois': rois, **losses}


def _check_stages(owner: CascadeDoubleHeadRoIHead, num_stages: int, **options: object) -> None:
    """Raise ValueError unless each list option has one entry per stage."""
    for name in ('stage_loss_weights', 'bbox_head', 'bbox_roi_extractor', 'train_cfg'):
        value = options.get(name)
        if isinstance(value, (list, tuple)) and len(value) != num_stages:
            reject(owner, f'the length of {name}', len(value), f'num_stages = {num_stages}')

"""Cascade R-CNN with Double-Head in every stage.

Papers: https://arxiv.org/abs/1712.00726 and https://arxiv.org/abs/1904.06493, neither of which
describes the combination.
"""

from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from mmdet_detnet.models.arguments import reject
from mmdet_detnet.registry import MODELS

from .double_head_roi_head import check_double_head
from .roi_pooling import RoIPooling


@MODELS.register_module()
class CascadeDoubleHeadRoIHead(CascadeRoIHead):
    """MMDetection's ``CascadeRoIHead``, with two heads and two sizes of each RoI in every stage.

    Classes come from the fc-heads, whose logits are averaged over the stages, and boxes from the
    conv-heads, as Cascade R-CNN has it. The heads may be trained on both tasks (``lambda_fc`` and
    ``lambda_conv`` below 1), but scores are not fused: a stage hands on one set of class logits.

    Args:
        reg_roi_scale_factor: By which width and height of a RoI grow for the conv-head; positive.
        **kwargs: The arguments of ``CascadeRoIHead``. Every ``bbox_head`` has to be a
            ``mmdet_detnet.DoubleConvFCBBoxHead``.

    Raises:
        ValueError: If an argument is outside what is listed here, or a head fuses scores or reads
            both tasks out of one head.
    """

    def __init__(self, reg_roi_scale_factor: float, **kwargs: object) -> None:
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

    def _bbox_forward(self, stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        """Run both heads of a stage.

        Args:
            stage: Index of the stage.
            x: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).

        Returns:
            ``cls_score``, ``bbox_pred``, ``unfocused`` (outputs for the unfocused tasks) and
            ``bbox_feats``, the features of the RoIs as they are.
        """
        pooling = RoIPooling(self.bbox_roi_extractor[stage], x, rois)
        cls_feats = pooling.pool()
        reg_feats = pooling.pool(self.reg_roi_scale_factor)
        cls_score, bbox_pred, *unfocused = self.bbox_head[stage](cls_feats, reg_feats)
        return dict(
            cls_score=cls_score, bbox_pred=bbox_pred, unfocused=unfocused, bbox_feats=cls_feats
        )

    def bbox_loss(
        self, stage: int, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]
    ) -> dict:
        """Run both heads of a stage and compute their losses, as ``CascadeRoIHead`` does.

        Args:
            stage: Index of the stage.
            x: Feature maps, the highest resolution first.
            sampling_results: Sampled RoIs and their ground truth, of each image.

        Returns:
            What :meth:`_bbox_forward` returns, ``rois``, the losses as ``loss_bbox``, and
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

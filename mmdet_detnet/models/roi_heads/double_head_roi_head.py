"""RoI head of Double-Head R-CNN: two sizes of each RoI for two heads.

Paper: https://arxiv.org/abs/1904.06493. The enlargement of the RoIs for the conv-head is not in the
paper, but in the authors' code and in MMDetection.
"""

import torch
from mmdet.models.roi_heads import DoubleHeadRoIHead as PlainDoubleHeadRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from mmdet_detnet.models.arguments import reject
from mmdet_detnet.registry import MODELS

from .bbox_heads import DoubleConvFCBBoxHead
from .roi_pooling import RoIPooling


@MODELS.register_module()
class DoubleHeadRoIHead(PlainDoubleHeadRoIHead):
    """MMDetection's ``DoubleHeadRoIHead``, for Double-Head-Ext too, and quicker at test time.

    Where the fc-head alone classifies, the conv-head and its RoIAlign run only on the RoIs that
    can become detections. ``multiclass_nms`` first keeps the pairs of RoI and class whose score
    exceeds ``score_thr``, in the order of the RoIs, and looks at no other box; so a RoI without
    such a class needs no box, and without it the input of NMS is the same. No layer of the
    conv-head mixes RoIs in evaluation mode, so the other boxes do not change either, but for
    rounding where a backend computes a smaller batch in another order.

    A RoI keeps its FPN level when it is enlarged, and levels are found once for both sizes.

    Args:
        reg_roi_scale_factor: By which width and height of a RoI grow for the conv-head; positive.
            1.3 in the authors' code and in MMDetection.
        regress_survivors_only: Whether to leave out RoIs at test time as described. It is off by
            itself where every box or the conv-head's scores are needed: fused scores, ``readout``
            'fc' or 'conv', ``rcnn_test_cfg=None``, ONNX export, a box head in training mode.
        regress_positives_only: Whether the conv-head trains on positive RoIs only, which is
            quicker. It departs from the paper: the batch norm of the conv-head then sees
            positive RoIs only. Not with Ext, whose conv-head classifies all RoIs.
        **kwargs: The arguments of ``StandardRoIHead``. ``bbox_head`` has to be a
            :class:`DoubleConvFCBBoxHead` of this package.

    Raises:
        ValueError: If an argument is outside what is listed here.
    """

    def __init__(
        self,
        reg_roi_scale_factor: float,
        regress_survivors_only: bool = True,
        regress_positives_only: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(reg_roi_scale_factor, **kwargs)
        check_double_head(self, self.bbox_head, reg_roi_scale_factor)
        if regress_positives_only and self.bbox_head.unfocused_cls is not None:
            reject(
                self,
                'regress_positives_only',
                regress_positives_only,
                'False where the conv-head classifies (lambda_conv < 1)',
            )
        self.regress_survivors_only = regress_survivors_only
        self.regress_positives_only = regress_positives_only

    def _bbox_forward(
        self, x: tuple[Tensor, ...], rois: Tensor, regressed: Tensor | None = None
    ) -> dict:
        """Run both heads.

        Args:
            x: Feature maps, the highest resolution first.
            rois: Index of the image and corners in pixels, of shape (num_rois, 5).
            regressed: Indices of the RoIs whose boxes are wanted; the others get deltas of
                zero. All if None.

        Returns:
            ``cls_score``, ``bbox_pred``, ``unfocused`` (what Ext adds to the two) and
            ``bbox_feats``, the features of the RoIs as they are.
        """
        pooling = RoIPooling(self.bbox_roi_extractor, x, rois)
        cls_feats = self._share(pooling.pool())
        enlarged = pooling if regressed is None else pooling.select(regressed)
        reg_feats = self._share(enlarged.pool(self.reg_roi_scale_factor))
        cls_score, bbox_pred, *unfocused = self.bbox_head(cls_feats, reg_feats)
        if regressed is not None:
            all_deltas = bbox_pred.new_zeros(len(rois), bbox_pred.shape[1])
            bbox_pred = all_deltas.index_copy(0, regressed, bbox_pred)
        return dict(
            cls_score=cls_score, bbox_pred=bbox_pred, unfocused=unfocused, bbox_feats=cls_feats
        )

    def _share(self, feats: Tensor) -> Tensor:
        return self.shared_head(feats) if self.with_shared_head else feats

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """Run both heads and compute their losses, as ``StandardRoIHead`` does.

        Args:
            x: Feature maps, the highest resolution first.
            sampling_results: Sampled RoIs and their ground truth, of each image.

        Returns:
            What :meth:`_bbox_forward` returns, the losses as ``loss_bbox``, and ``bbox_targets``.
        """
        rois = bbox2roi([result.priors for result in sampling_results])
        regressed = find_positives(sampling_results) if self.regress_positives_only else None
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
            rcnn_test_cfg: Config of the post-processing; None gives scores and boxes of all RoIs.
            rescale: Whether to return boxes in the coordinates of the original image.

        Returns:
            Boxes (corners in pixels), scores and labels for each image.
        """
        proposals = [results.bboxes for results in rpn_results_list]
        rois = bbox2roi(proposals)
        if len(rois) == 0:
            return super().predict_bbox(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
            )
        if self._may_leave_out_rois(rcnn_test_cfg):
            rois, *outputs = self._forward_survivors(x, rois, rcnn_test_cfg.score_thr)
        else:
            results = self._bbox_forward(x, rois)
            outputs = self.bbox_head.read_out(
                results['cls_score'], results['bbox_pred'], *results['unfocused']
            )
        sizes = torch.bincount(rois[:, 0].long(), minlength=len(proposals)).tolist()
        rois, cls_scores, bbox_preds = (part.split(sizes) for part in (rois, *outputs))
        return self.bbox_head.predict_by_feat(
            rois, cls_scores, bbox_preds, batch_img_metas, rcnn_test_cfg, rescale
        )

    def _may_leave_out_rois(self, rcnn_test_cfg: ConfigType | None) -> bool:
        return (
            self.regress_survivors_only
            and rcnn_test_cfg is not None
            and self.bbox_head.classifies_by_fc_alone
            and not self.bbox_head.training
            and not torch.onnx.is_in_onnx_export()
        )

    def _forward_survivors(
        self, x: tuple[Tensor, ...], rois: Tensor, score_thr: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classify all RoIs; keep and regress those of which some class exceeds the threshold."""
        head = self.bbox_head
        pooling = RoIPooling(self.bbox_roi_extractor, x, rois)
        cls_score = head.fc_cls(head.fc_features(self._share(pooling.pool()))).float()
        best = head.class_probabilities(cls_score)[:, :-1].amax(dim=1)
        survivors = (best > score_thr).nonzero().squeeze(1)
        reg_feats = self._share(pooling.select(survivors).pool(self.reg_roi_scale_factor))
        bbox_pred = head.fc_reg(head.conv_features(reg_feats)).float()
        return rois[survivors], cls_score[survivors], bbox_pred


def find_positives(sampling_results: list[SamplingResult]) -> Tensor:
    """List the positive ones among the RoIs of a batch; each image has its positives first.

    Args:
        sampling_results: Sampled RoIs of each image.

    Returns:
        Their indices, of shape (num_positives,).
    """
    flags = [
        torch.arange(len(result.priors), device=result.priors.device) < len(result.pos_priors)
        for result in sampling_results
    ]
    return torch.cat(flags).nonzero().squeeze(1)


def check_double_head(
    roi_head: torch.nn.Module, bbox_head: torch.nn.Module, reg_roi_scale_factor: float
) -> None:
    """Check what a RoI head with two heads is made of.

    Args:
        roi_head: The RoI head, for its name.
        bbox_head: Its bounding-box head, or that of a stage.
        reg_roi_scale_factor: Its scale factor.

    Raises:
        ValueError: If one of them does not fit.
    """
    if not isinstance(bbox_head, DoubleConvFCBBoxHead):
        reject(roi_head, 'bbox_head', type(bbox_head), 'a mmdet_detnet.DoubleConvFCBBoxHead')
    if not reg_roi_scale_factor > 0:
        reject(roi_head, 'reg_roi_scale_factor', reg_roi_scale_factor, 'positive')

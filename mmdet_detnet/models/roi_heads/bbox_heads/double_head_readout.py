"""Detections of two heads that may both classify and regress.

The four ways are those of the authors' evaluation,
https://github.com/wuyuebupt/doubleheadsrcnn (commit a744b41).
"""

import torch.nn.functional as F
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_detnet.models.arguments import check_choice, reject
from mmdet_detnet.models.layers import SCORE_FUSIONS

# The authors' evaluation modes 3, 2, 1 and 0.
READOUTS = ('fused', 'fc_conv', 'fc', 'conv')


class DoubleHeadReadout(BBoxHead):
    """Mixin for a ``BBoxHead`` with two heads that selects the scores and boxes of detections.

    Attributes:
        unfocused_cls: The conv-head's class predictor with its loss, or None.
        unfocused_reg: The fc-head's box predictor with its loss, or None.
    """

    unfocused_cls: BBoxHead | None
    unfocused_reg: BBoxHead | None

    @property
    def fusion(self) -> str:
        """How the class probabilities are fused into one score; can be set at any time."""
        return self._fusion

    @fusion.setter
    def fusion(self, value: str) -> None:
        check_choice(self, 'fusion', value, ('none', *SCORE_FUSIONS))
        if value != 'none' and self.unfocused_cls is None:
            allowed = "'none' unless the conv-head classifies (lambda_conv < 1)"
            reject(self, 'fusion', value, allowed)
        if value != 'none' and self.custom_cls_channels:
            reject(self, 'fusion', value, f"'none' with {type(self.loss_cls).__name__}")
        if value != 'none' and getattr(self.loss_cls, 'use_sigmoid', False):
            reject(self, 'fusion', value, "'none' with a loss_cls that has use_sigmoid=True")
        self._fusion = value

    @property
    def readout(self) -> str:
        """Source of the detections; can be set at any time."""
        return self._readout

    @readout.setter
    def readout(self, value: str) -> None:
        check_choice(self, 'readout', value, READOUTS)
        if value == 'fc' and self.unfocused_reg is None:
            allowed = "'fused' or 'fc_conv' unless the fc-head regresses (lambda_fc < 1)"
            reject(self, 'readout', value, allowed)
        if value == 'conv' and self.unfocused_cls is None:
            allowed = "'fused' or 'fc_conv' unless the conv-head classifies (lambda_conv < 1)"
            reject(self, 'readout', value, allowed)
        self._readout = value

    @property
    def fuses_scores(self) -> bool:
        """Whether detections need the class scores of both heads."""
        return self.readout == 'fused' and self.fusion != 'none'

    @property
    def classifies_by_fc_alone(self) -> bool:
        """Whether only the fc-head provides the scores, and the conv-head the boxes."""
        return self.readout in ('fused', 'fc_conv') and not self.fuses_scores

    def class_probabilities(self, cls_score: Tensor) -> Tensor:
        """Convert class logits to the probabilities that ``score_thr`` applies to.

        Args:
            cls_score: Class logits, of shape (num_rois, num_class_channels).

        Returns:
            Probabilities in float32, of shape (num_rois, num_classes + 1), background last.
        """
        if self.custom_cls_channels:
            return self.loss_cls.get_activation(cls_score.float())
        return F.softmax(cls_score.float(), dim=-1)

    def read_out(self, cls_score: Tensor, conv_cls_score: Tensor | None) -> Tensor:
        """Select or fuse class logits according to ``readout``, unless it is 'fc'.

        Args:
            cls_score: Class logits of the fc-head.
            conv_cls_score: Class logits of the conv-head, if it classifies.

        Returns:
            Class logits, or scores if :attr:`fuses_scores`.
        """
        if self.readout == 'conv':
            return conv_cls_score
        if self.fuses_scores:
            probabilities = map(self.class_probabilities, (cls_score, conv_cls_score))
            return SCORE_FUSIONS[self.fusion](*probabilities)
        return cls_score

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
        # The parent would treat the fused scores as logits, so it only decodes the boxes.
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

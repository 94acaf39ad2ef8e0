"""The best boxes of an anchor head, as in ``predict_by_feat`` before its NMS."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import AnchorHead
from mmengine.config import ConfigDict
from torch import Tensor

from mmdet_detnet.models import ConfidenceRetinaHead

from .selection import NO_SCORE, take, take_best


class Candidates(NamedTuple):
    """Boxes before NMS, ``nms_pre`` per level.

    Attributes:
        boxes: Corners in pixels, ``(B, n, 4)``.
        scores: Their scores, or NO_SCORE, ``(B, n)``.
        labels: Their classes, ``(B, n)``.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def find_candidates(
    head: AnchorHead, feats: Sequence[Tensor], image_size: tuple[int, int], cfg: ConfigDict
) -> Candidates:
    """Run an anchor head and select the best boxes of each level.

    Args:
        head: A head that :func:`.check_exportable` accepts.
        feats: Feature maps, the highest resolution first, each ``(B, C, h, w)``.
        image_size: Height and width that boxes are clipped to, in pixels.
        cfg: Test config of the head.

    Returns:
        The boxes of all levels, one level after the other.
    """
    outputs = head(feats)
    sizes = [tuple(maps.shape[2:]) for maps in outputs[0]]
    priors = head.prior_generator.grid_priors(sizes, device=feats[0].device)
    levels = [
        _best_of_level(head, maps, anchors, image_size, cfg)
        for *maps, anchors in zip(*outputs, priors, strict=True)
    ]
    return Candidates(*(torch.cat(parts, 1) for parts in zip(*levels, strict=True)))


def _best_of_level(
    head: AnchorHead,
    maps: list[Tensor],
    anchors: Tensor,
    image_size: tuple[int, int],
    cfg: ConfigDict,
) -> Candidates:
    cls_score, bbox_pred, *conf_preds = maps
    scores = _by_anchor(cls_score, head.cls_out_channels)
    scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
    conf = _by_anchor(conf_preds[0], 1).sigmoid() if conf_preds else None
    if conf is not None and head.select_by == 'joint':
        scores, conf = _join(head, scores, conf), None
    num_classes = scores.shape[2]
    scores = scores.flatten(1)
    if 'score_thr' in cfg:
        scores = scores.where(scores > cfg.score_thr, NO_SCORE)
    scores, indices = take_best(scores, cfg.nms_pre)
    chosen = indices // num_classes
    if conf is not None:
        joint = _join(head, scores.clamp(min=0), take(conf, chosen)[..., 0])
        scores = joint.where(scores > NO_SCORE, NO_SCORE)
    deltas = take(_by_anchor(bbox_pred, 4), chosen)
    boxes = head.bbox_coder.decode(
        anchors[chosen].flatten(0, 1), deltas.flatten(0, 1), max_shape=image_size
    )
    return Candidates(boxes.reshape(deltas.shape), scores, indices % num_classes)


def _by_anchor(maps: Tensor, channels: int) -> Tensor:
    """Reorder maps ``(B, A * channels, h, w)`` by anchor, ``(B, n, channels)``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def _join(head: ConfidenceRetinaHead, scores: Tensor, conf: Tensor) -> Tensor:
    return scores ** (1 - head.conf_exponent) * conf**head.conf_exponent
